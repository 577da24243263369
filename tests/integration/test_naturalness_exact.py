"""Naturalness in packed rows equals its definition: one forward per step and window, no packing."""

import json
import os
import warnings

import numpy as np
import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.models import model_path
from nt_lightning.student.head import base_model
from nt_lightning.student.naturalness import attention
from nt_lightning.student.naturalness.encode import ResponseEncoder
from nt_lightning.student.naturalness.verify import verify_runs
from nt_lightning.traces.formatting import PromptFormatter
from tests.integration.real_data import real_file
from tests.naturalness import (
    assert_same,
    load_scorer,
    naive_local,
    naive_log_probs,
    naive_step,
    random_response,
    score,
)
from tests.tiny import save_tiny_student

SLIDING = 16
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral")
TRACES = int(os.environ.get("NT_TRACES", "4"))
WINDOWS = (0, 1, 2, 4, 0.25)
STEPS = [(5,), (1, 1, 9, 4, 3, 30, 2), (7, 8, 20), (3, 12, 5, 6, 2, 8, 4, 4, 11)]


@pytest.fixture(scope="module", params=FAMILIES)
def scorer(request, tmp_path_factory):
    options = {"sliding_window": SLIDING} if request.param in FAMILIES[3:] else {}
    if request.param == "gemma2":
        options |= {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}
    folder = save_tiny_student(tmp_path_factory.mktemp("student"), request.param, **options)
    return load_scorer(folder, WINDOWS)


def responses(vocab):
    return [
        random_response(steps, 4 + 7 * number, vocab, number, f"r{number}")
        for number, steps in enumerate(STEPS)
    ]


def assert_exact(model, one, found, windows):
    """Every score of a response against the definition."""
    log_probs, ranks = naive_log_probs(model, one.prompt.tolist(), one.response.tolist())
    whole = found.whole
    assert whole.galp == pytest.approx(log_probs.mean(), abs=1e-4)
    assert whole.rsr == pytest.approx(np.minimum(ranks, 100).sum() / -log_probs.sum(), rel=1e-3)
    assert whole.mean_rank == pytest.approx(ranks.mean(), rel=1e-3)
    first = np.cumsum(one.step_lengths) - one.step_lengths
    rest = np.delete(log_probs, first)
    assert whole.first == pytest.approx(log_probs[first].mean(), abs=1e-4)
    if len(rest):
        assert whole.rest == pytest.approx(rest.mean(), abs=1e-4)
    if len(one.response) > 1:
        alone = naive_log_probs(model, one.response[:1].tolist(), one.response[1:].tolist())[0]
        assert found.ifd == pytest.approx(log_probs[1:].sum() / alone.sum(), abs=1e-4)
    for name, steps in windows.items():
        naive = naive_local(model, one, steps)
        np.testing.assert_allclose(found.step_lalp[name], naive, atol=1e-4)
        assert found.lalp[name] == pytest.approx(naive.mean(), abs=1e-4)


def test_every_score_equals_its_definition(scorer):
    tokens = responses(scorer.model.config.vocab_size)
    for one, found in zip(tokens, score(scorer, tokens), strict=True):
        share = -(-len(one.step_lengths) // 4)
        windows = {"0": 0, "1": 1, "2": 2, "4": 4, "25pct": share}
        assert_exact(scorer.model, one, found, windows)


def test_company_order_and_rows_change_nothing(scorer):
    tokens = responses(scorer.model.config.vocab_size)
    together = score(scorer, tokens)
    others = {
        "alone": [score(scorer, [one])[0] for one in tokens],
        "backwards": score(scorer, tokens[::-1])[::-1],
        "torn": score(scorer, tokens, max_tokens=60),
    }
    for name, found in others.items():
        for one, same in zip(together, found, strict=True):
            assert_same(one, same, name)


def test_a_planted_leak_is_seen(scorer, monkeypatch):
    """A run that also sees the end of the run before it: the comparison must fail by far."""
    tokens = responses(scorer.model.config.vocab_size)[-1:]
    plain = attention._slice
    with monkeypatch.context() as patch:
        patch.setattr(attention, "_slice", lambda *args: torch.ones_like(plain(*args)))
        found = score(scorer, tokens)[0]
    gap = np.abs(found.step_lalp["1"] - naive_local(scorer.model, tokens[0], 1)).max()
    assert gap > 1e-2


def test_ids_in_front_of_the_response_alone(scorer):
    """With an empty prompt the first token counts too."""
    one = responses(scorer.model.config.vocab_size)[2]
    found = score(scorer, [one], empty_prompt=(1, 2))[0]
    asked = naive_log_probs(scorer.model, one.prompt.tolist(), one.response.tolist())[0]
    alone = naive_log_probs(scorer.model, [1, 2], one.response.tolist())[0]
    assert found.ifd == pytest.approx(asked.sum() / alone.sum(), abs=1e-4)


def test_flex_attention_equals_the_runs_one_by_one(scorer, monkeypatch):
    tokens = responses(scorer.model.config.vocab_size)[2:]
    want = score(scorer, tokens)
    monkeypatch.setattr(attention, "_per_run", attention._flex)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        found = score(scorer, tokens)
    for one, same in zip(want, found, strict=True):
        assert_same(one, same, "flex")


def test_a_family_whose_attention_differs_is_refused(scorer, monkeypatch):
    with monkeypatch.context() as patch:
        plain = attention._slice
        patch.setattr(attention, "_slice", lambda *args: torch.ones_like(plain(*args)))
        with pytest.raises(UserError, match="attention of .* is not known"):
            verify_runs(scorer.model)
    assert base_model(scorer.model).config._attn_implementation == attention.NT_RUNS


def test_what_does_not_fit_has_a_reason_and_the_rest_its_scores(scorer):
    one = responses(scorer.model.config.vocab_size)[3]  # 25 and 55 tokens
    found = score(scorer, [one], context=52)[0]
    assert found.whole is None
    assert found.ifd is None
    assert found.reason.endswith("the student reads 52")
    assert found.lalp["4"] is None
    np.testing.assert_allclose(found.step_lalp["1"], naive_local(scorer.model, one, 1), atol=1e-4)


# -- the embedded student on real traces -----------------------------------------------------------


@pytest.fixture(scope="module")
def embedded():
    scorer = load_scorer(model_path("smollm2-135m-instruct"), windows=(0, 1, 2, 3, 4))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(scorer.model_name)
    return scorer, ResponseEncoder(PromptFormatter(tokenizer))


def real_responses(encoder, count, characters=None):
    """Tokens of the shortest traces of two teachers, their parts cut to so many characters.

    The last one of each teacher has six times as many, so that all windows differ there.
    """
    tokens = []
    for teacher in ("deepseekR1", "Qwen32"):
        place = ("mip_overthinking", "response", "gsm8k", "normal", teacher, "response.json")
        key = "deepseek-reasoner (question)" if teacher == "deepseekR1" else "model_answer"
        pairs = [(row["question"], row[key]) for row in json.loads(real_file(*place).read_text())]
        pairs = sorted((p for p in pairs if len(p[1]) > 200), key=lambda pair: len(pair[1]))
        for number, (question, reply) in enumerate(pairs[:count]):
            limit = characters and characters * (6 if number == count - 1 else 1)
            parts = (part.strip()[:limit] for part in reply.rpartition("</think>")[::2])
            tokens.append(encoder.encode(f"{teacher}-{number}", question, *parts))
    return tokens


@pytest.mark.timeout(300)
def test_real_traces_score_as_defined(embedded):
    """20 real traces: the whole, and a sample of their steps in every window; then some alone."""
    scorer, encoder = embedded
    tokens = real_responses(encoder, 10, characters=50)
    assert len(tokens) == 20
    rng = np.random.default_rng(0)
    together = score(scorer, tokens, max_tokens=4096)
    for one, found in zip(tokens, together, strict=True):
        assert_exact(scorer.model, one, found, {})
        step, window = int(rng.integers(len(one.step_lengths))), int(rng.choice(scorer.windows))
        naive = naive_step(scorer.model, one, step, window)
        assert found.step_lalp[str(window)][step] == pytest.approx(naive, abs=1e-4)
    for index in (3, 14):
        assert_same(together[index], score(scorer, [tokens[index]], max_tokens=256)[0])


@pytest.mark.slow
@pytest.mark.timeout(150 * TRACES)
def test_every_step_of_whole_real_traces_scores_as_defined(embedded):
    """Uncut, in every window; four unless ``NT_TRACES`` says so: each step has its own forward."""
    scorer, encoder = embedded
    tokens = real_responses(encoder, TRACES // 2)
    assert len(tokens) == TRACES
    windows = {str(window): window for window in scorer.windows}
    for one, found in zip(tokens, score(scorer, tokens, max_tokens=4096), strict=True):
        assert_exact(scorer.model, one, found, windows)
