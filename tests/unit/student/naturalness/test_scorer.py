"""The scorer on a tiny student: the method's invariants, its token passes, what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nt_lightning.errors import UserError
from nt_lightning.student.naturalness import attention
from nt_lightning.student.naturalness.layout import ScoreSpec, plan_response
from nt_lightning.student.naturalness.rows import make_batch
from nt_lightning.student.naturalness.scorer import NaturalnessScorer
from tests.benchmarks.protocol import REPOSITORY
from tests.naturalness import (
    LONG,
    assert_same,
    load_scorer,
    naive_log_probs,
    random_response,
    score,
)
from tests.tiny import save_tiny_student

STEPS = st.lists(st.integers(1, 12), min_size=1, max_size=8)
RESPONSES = st.lists(st.tuples(STEPS, st.integers(1, 20)), min_size=1, max_size=5)
K = 4


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return load_scorer(save_tiny_student(tmp_path_factory.mktemp("student")), range(K + 1))


def responses(scorer, shapes):
    vocab = scorer.model.config.vocab_size
    return [
        random_response(steps, prompt, vocab, seed, f"r{seed}")
        for seed, (steps, prompt) in enumerate(shapes)
    ]


# -- the four invariants of the method -------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=K + 1), st.integers(1, 20))
def test_a_window_of_all_steps_weighted_by_tokens_is_the_global_score(scorer, steps, prompt):
    """The global score by a plain forward of the whole: both come from one run of ours."""
    (one,) = responses(scorer, [(steps, prompt)])
    (found,) = score(scorer, [one])
    plain, _ = naive_log_probs(scorer.model, one.prompt.tolist(), one.response.tolist())
    weighted = np.average(found.step_lalp[str(K)], weights=found.step_tokens)
    assert weighted == pytest.approx(plain.mean(), abs=1e-5)
    assert found.whole.galp == pytest.approx(plain.mean(), abs=1e-5)
    means = [part.mean() for part in np.split(plain, np.cumsum(steps)[:-1])]
    np.testing.assert_allclose(found.step_lalp[str(K)], means, atol=1e-5)
    np.testing.assert_allclose(found.step_galp, means, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20))
def test_one_step_scores_locally_as_globally(scorer, length, prompt):
    (one,) = responses(scorer, [([length], prompt)])
    (found,) = score(scorer, [one])
    plain, _ = naive_log_probs(scorer.model, one.prompt.tolist(), one.response.tolist())
    for value in (found.whole.galp, *found.lalp.values()):
        assert value == pytest.approx(plain.mean(), abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(RESPONSES, st.randoms(use_true_random=False), st.integers(20, 200))
def test_company_order_and_rows_change_no_score(scorer, shapes, random, max_tokens):
    tokens = responses(scorer, shapes)
    order = random.sample(range(len(tokens)), len(tokens))
    shuffled = score(scorer, [tokens[index] for index in order], max_tokens)
    for place, index in enumerate(order):
        (alone,) = score(scorer, [tokens[index]])
        assert_same(alone, shuffled[place])


@settings(max_examples=15, deadline=None)
@given(RESPONSES)
def test_all_windows_in_one_pass_are_what_they_are_in_passes_of_their_own(scorer, shapes):
    tokens = responses(scorer, shapes)
    together = score(scorer, tokens)
    for window in range(K + 1):
        spec = ScoreSpec((window,), ifd=False)
        plans = [plan_response(one, spec) for one in tokens]
        apart = scorer.score_batch(make_batch(plans, spec, LONG))
        for one, same in zip(together, apart, strict=True):
            name = str(window)
            np.testing.assert_allclose(same.step_lalp[name], one.step_lalp[name], atol=1e-5)


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ifd", [True, False])
def test_the_student_reads_as_many_tokens_as_the_method_says(scorer, ifd):
    """Counted where they enter the model; the head sees scored tokens alone."""
    steps, seen = (3, 1, 8, 2, 5, 4, 6), []
    (one,) = responses(scorer, [(steps, 11)])
    embedding = scorer.model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda _, ids, out: seen.append(ids[0].numel()))
    score(scorer, [one], ifd=ifd)
    hook.remove()
    local = sum(min(j, K + 1) * length for j, length in enumerate(steps, start=1))
    at_most = 11 + local + sum(steps) * (1 + ifd)
    shared, runs = sum(steps[: K + 1]), len(steps) + ifd  # see the layout's test
    assert sum(seen) == at_most - shared - runs


PEAK = """
import json, sys
import numpy as np
from tests.benchmarks.protocol import Meter
from tests.naturalness import load_scorer, random_response, score
scorer = load_scorer(sys.argv[1], (4,))
long = random_response(np.full(800, 20), 100, 128_000)
with Meter() as meter:
    (found,) = score(scorer, [long], max_tokens=8192, ifd=False)
print(json.dumps(meter.result(galp=found.whole.galp, steps=len(found.step_lalp["4"]))))
"""


@pytest.mark.timeout(300)
def test_a_long_response_with_a_large_vocabulary_needs_little_memory(tmp_path):
    """16,000 tokens and 128,000 words: all logits of the whole alone would be 8.2 GB."""
    sizes = {"vocab_size": 128_000, "max_position_embeddings": 32_768, "hidden_size": 16}
    student = save_tiny_student(tmp_path, intermediate_size=32, num_hidden_layers=1, **sizes)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, student],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["peak_mib"] < 4e9 / 2**20
    assert np.isfinite(result["galp"])
    assert result["steps"] == 800


# -- what cannot be scored -------------------------------------------------------------------------


def test_bad_responses_leave_the_others_their_scores(scorer):
    good, empty, long = responses(scorer, [((3, 4), 5), ((), 5), ((2, 60, 3), 5)])
    question = random_response((2,), 50, scorer.model.config.vocab_size, name="question")
    found = score(scorer, [empty, good, long, question], context=40)
    assert_same(found[1], score(scorer, [good])[0])
    assert [one.id for one in found] == ["r1", "r0", "r2", "question"]
    for one, reason in zip(
        found, ("no token", None, "longest step", "question has 50"), strict=True
    ):
        columns = one.columns()
        if reason is None:
            assert columns["unscored_reason"] is None
        else:
            assert reason in columns["unscored_reason"]
            assert columns["galp"] is columns["lalp_0"] is columns["rsr"] is None


def test_a_response_of_one_token(scorer):
    (found,) = score(scorer, responses(scorer, [((1,), 5)]))
    assert found.ifd is None
    assert found.whole.rest is None
    assert found.lalp["4"] == pytest.approx(found.whole.galp, abs=1e-6)


def test_a_nan_names_the_trace(tmp_path):
    scorer = load_scorer(save_tiny_student(tmp_path), (0, 1))
    tokens = responses(scorer, [((3, 4), 5), ((2, 2), 5), ((6,), 5)])
    bad = int(tokens[1].response[0])
    assert not any(bad in one.response or bad in one.prompt for one in (tokens[0], tokens[2]))
    embedding = scorer.model.get_input_embeddings()
    embedding.register_forward_hook(
        lambda _, ids, out: out.masked_fill(ids[0][..., None] == bad, float("nan"))
    )
    with pytest.raises(UserError, match="no finite log-probability to a token of trace 'r1'; "):
        score(scorer, tokens)


def test_many_bad_traces_are_counted(tmp_path):
    scorer = load_scorer(save_tiny_student(tmp_path), (0,))
    torch.nn.init.constant_(scorer.model.model.norm.weight, float("nan"))
    with pytest.raises(UserError, match="'r0', 'r1', 'r2' and 2 more"):
        score(scorer, responses(scorer, [((2,), 3)] * 5))


def test_the_student_is_loaded_once_with_its_attention(scorer):
    model = scorer.model
    scorer.configure_model()
    assert scorer.model is model
    assert model.config._attn_implementation == attention.NT_RUNS
    assert scorer.context == 4096
    assert isinstance(scorer, NaturalnessScorer)
