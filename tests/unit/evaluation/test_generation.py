"""Batched generation against a naive loop, and everything that could disturb it."""

from __future__ import annotations

import logging
import random
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from nt_lightning.errors import UserError
from nt_lightning.evaluation import generation, rows
from nt_lightning.evaluation.generation import Generation, generate
from nt_lightning.models import load_tokenizer
from nt_lightning.student.loading import load_student
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import NO_THINK, ThinkModes
from tests.tiny import SPECIAL_TOKENS, save_tiny_student

QUESTIONS = [
    "What is 3 + 4?",
    "Hi",
    "What is 3 + 4? " * 9,
    "three and four",
    "You are helpful " * 4,
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, PromptFormatter]:
    folder = save_tiny_student(tmp_path_factory.mktemp("student"), max_position_embeddings=512)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, PromptFormatter(AutoTokenizer.from_pretrained(folder))


@pytest.fixture
def formatter(student: tuple[PreTrainedModel, PromptFormatter]) -> PromptFormatter:
    """One of the test's own: some tests take another stop token."""
    return PromptFormatter(student[1].tokenizer)


@pytest.fixture
def model(student: tuple[PreTrainedModel, PromptFormatter]) -> PreTrainedModel:
    return student[0]


@pytest.fixture
def prompts(formatter: PromptFormatter) -> list[list[int]]:
    modes = ThinkModes().with_num_words(40)
    return [formatter.prompt_ids(question, modes.think) for question in QUESTIONS]


@torch.no_grad()
def naive_greedy(
    model: PreTrainedModel, prompt: list[int], stop: set[int], limit: int
) -> list[int]:
    """One row, no cache, no padding: the definition."""
    ids = list(prompt)
    for _ in range(limit):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] in stop:
            break
    return ids[len(prompt) :]


def texts(formatter: PromptFormatter, rows: list[list[int]]) -> list[str]:
    special = set(formatter.tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS))
    return [formatter.tokenizer.decode([i for i in row if i not in special]) for row in rows]


def test_greedy_equals_the_naive_loop_for_any_batch_size(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    first = naive_greedy(model, prompts[0], set(), 8)
    formatter.stop_token_id = first[5]  # a token that really comes, in some of the rows
    stop = {first[5], formatter.tokenizer.eos_token_id}
    expected = [naive_greedy(model, prompt, stop, 12) for prompt in prompts]
    assert len({len(row) for row in expected}) > 1
    for batch_size in (1, 2, 8):
        got = generate(model, formatter, prompts, max_new_tokens=12, batch_size=batch_size)
        assert [g.num_tokens for g in got] == [len(row) for row in expected]
        bodies = [row[:-1] if row[-1] in stop else row for row in expected]
        assert [g.text for g in got] == texts(formatter, bodies)
        assert [g.ids for g in got] == [tuple(row) for row in expected]
        reasons = ["stop" if row[-1] in stop else "length" for row in expected]
        assert [g.finish_reason for g in got] == reasons
        assert {"stop", "length"} == set(reasons)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_student_says_what_plain_generate_says() -> None:
    """SmolLM2 in float32, 24 prompts of many lengths, one at a time by transformers."""
    model = load_student("smollm2-135m-instruct").eval()
    formatter = PromptFormatter(load_tokenizer("smollm2-135m-instruct"))
    questions = [f"{question} ({n})" for n in range(6) for question in QUESTIONS[:4]]
    prompts = [formatter.prompt_ids(question, NO_THINK) for question in questions]
    stop = formatter.stop_token_id
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=stop,
        )
        expected.append(tuple(out[0, len(prompt) :].tolist()))
    assert len({len(ids) for ids in expected}) > 3
    got = generate(model, formatter, prompts, max_new_tokens=24, batch_size=8)
    assert [g.ids for g in got] == expected


def test_what_a_response_is_begun_with_is_put_in_front_again(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    plain = generate(model, formatter, prompts[:2], max_new_tokens=4, batch_size=1)
    begun = generate(
        model, formatter, prompts[:2], max_new_tokens=4, batch_size=1, begun=["<think>", "So"]
    )
    assert [g.text for g in begun] == ["<think>" + plain[0].text, "So" + plain[1].text]
    assert begun[0].num_tokens == 4


def test_every_response_may_have_its_own_limit(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    whole = generate(model, formatter, prompts, max_new_tokens=9, batch_size=2)
    limits = [3, 9, 1, 4, 2]
    got = generate(model, formatter, prompts, max_new_tokens=limits, batch_size=2)
    assert [g.ids for g in got] == [g.ids[:n] for g, n in zip(whole, limits, strict=True)]


def test_responses_are_told_as_they_end(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    told: dict[int, Generation] = {}
    counts: list[int] = []

    def tell(index: int, response: Generation) -> None:
        assert index not in told
        told[index] = response
        counts.append(len(seen))

    seen: list[int] = []
    got = generate(
        model,
        formatter,
        prompts,
        max_new_tokens=[2, 9, 5, 7, 3],
        batch_size=5,
        on_response=tell,
        on_progress=seen.append,
    )
    assert [told[index] for index in range(5)] == got
    assert list(told) != sorted(told)
    assert len(set(counts)) > 2


def test_ids_of_finished_responses_are_forgotten(
    model: PreTrainedModel, formatter: PromptFormatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 30 responses in batches of 3 no more are held than two batches'."""
    made: list[weakref.ref[rows.Row]] = []

    class Watched(rows.Row):
        def __init__(self, *values: Any) -> None:
            super().__init__(*values)
            made.append(weakref.ref(self))

    def count(_: int) -> None:
        held.append(sum(len(row.ids) for ref in made if (row := ref()) is not None))

    monkeypatch.setattr(generation, "Row", Watched)
    prompts = [[5 + n, 6, 7] for n in range(30)]
    held: list[int] = []
    options: dict[str, Any] = {"max_new_tokens": 8, "batch_size": 3, "on_progress": count}
    kept = generate(model, formatter, prompts, **options)
    assert sum(len(one.ids) for one in kept) == sum(one.num_tokens for one in kept) > 200
    told: list[int] = []
    got = generate(
        model,
        formatter,
        prompts,
        keep_ids=False,
        on_response=lambda index, one: told.append(len(one.ids)),
        **options,
    )
    assert 8 <= max(held) <= 2 * 3 * 8
    assert [one.ids for one in got] == [()] * 30
    assert [(one.text, one.num_tokens) for one in got] == [(g.text, g.num_tokens) for g in kept]
    assert sum(told) == sum(one.num_tokens for one in kept)


def test_a_limit_below_one_is_refused(model: PreTrainedModel, formatter: PromptFormatter) -> None:
    with pytest.raises(ValueError, match="is 0; allowed: 1 and more"):
        generate(model, formatter, [[5], [6]], max_new_tokens=[4, 0], batch_size=2)


def test_longest_prompts_come_first(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    widths: list[int] = []
    spy = model.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    generate(model, formatter, prompts, max_new_tokens=1, batch_size=2)
    spy.remove()
    assert widths[0] == 1  # what the cache is like
    assert widths[1:] == sorted(widths[1:], reverse=True)
    assert widths[1] == max(map(len, prompts))


def test_hidden_defaults_of_the_model_folder_have_no_effect(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    clean = generate(model, formatter, prompts, max_new_tokens=8, batch_size=4)
    saved = model.generation_config
    hidden = type(saved)(
        do_sample=True, temperature=2.0, top_k=3, repetition_penalty=9.0, max_length=7,
        no_repeat_ngram_size=1, eos_token_id=[5], bad_words_ids=[[7]], num_beams=3,
    )  # fmt: skip
    model.generation_config = hidden
    try:
        assert generate(model, formatter, prompts, max_new_tokens=8, batch_size=4) == clean
        assert model.generation_config is hidden
    finally:
        model.generation_config = saved


def test_sampling_depends_on_seed_and_key_alone(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    options: dict[str, Any] = {"max_new_tokens": 10, "temperature": 1.0, "top_p": 0.95}
    keys = ["a", "b", "c", "d", "e"]
    once = generate(model, formatter, prompts, batch_size=5, seed=1, keys=keys, **options)
    again = generate(
        model, formatter, prompts[::-1], batch_size=2, seed=1, keys=keys[::-1], **options
    )
    assert again[::-1] == once
    assert generate(model, formatter, prompts, batch_size=5, seed=2, keys=keys, **options) != once
    repeat = [prompts[0]] * 2
    first, second = generate(model, formatter, repeat, batch_size=2, keys=["r0", "r1"], **options)
    assert first != second


def test_no_generator_is_touched(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    generate(model, formatter, prompts, max_new_tokens=3, batch_size=2, temperature=0.7, top_p=0.9)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_deadline_in_the_past_evaluates_nothing(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    got = generate(model, formatter, prompts, max_new_tokens=8, batch_size=2, deadline=0.0)
    assert {(g.text, g.num_tokens, g.finish_reason) for g in got} == {("", 0, "time")}


def test_deadline_stops_a_batch_and_keeps_what_had_stopped(
    model: PreTrainedModel,
    formatter: PromptFormatter,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    formatter.stop_token_id = naive_greedy(model, prompts[1], set(), 2)[1]
    free = generate(model, formatter, prompts, max_new_tokens=40, batch_size=5)
    assert free[1].finish_reason == "stop"
    clock = iter(range(10_000))
    monkeypatch.setattr(rows.time, "monotonic", lambda: next(clock))
    got = generate(model, formatter, prompts, max_new_tokens=40, batch_size=5, deadline=6.0)
    assert got[1] == free[1]
    late = [g for g, other in zip(got, free, strict=True) if other.num_tokens > 6]
    assert late
    assert {(g.finish_reason, g.num_tokens) for g in late} == {("time", 6)}


def test_progress_counts_up_to_all(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    formatter.stop_token_id = naive_greedy(model, prompts[1], set(), 3)[2]
    seen: list[int] = []
    generate(model, formatter, prompts, max_new_tokens=6, batch_size=3, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(prompts)


def test_think_tags_stay_also_as_special_tokens(student: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(student[1].tokenizer.name_or_path)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>", "<tool>"]})
    formatter = PromptFormatter(tokenizer)
    ids = tokenizer("<think>a</think><tool>b<|im_end|>", add_special_tokens=False)["input_ids"]
    assert generation.decode(formatter, ids) == "<think>a</think>b"


def test_no_prompts_no_generation(model: PreTrainedModel, formatter: PromptFormatter) -> None:
    assert generate(model, formatter, [], max_new_tokens=8, batch_size=2) == []


def test_tokens_of_the_whole_call_are_limited(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    free = generate(model, formatter, prompts, max_new_tokens=9, batch_size=2)
    for limit in (0, 1, 12, 25):
        told: list[int] = []
        got = generate(
            model,
            formatter,
            prompts,
            max_new_tokens=9,
            batch_size=2,
            max_total_tokens=limit,
            on_response=lambda index, _, told=told: told.append(index),
        )
        assert limit <= sum(g.num_tokens for g in got) <= limit + 1
        for index, (one, whole) in enumerate(zip(got, free, strict=True)):
            assert one.ids == whole.ids[: one.num_tokens]
            assert one == whole if index in told else one.finish_reason == "time"
        assert sum(g.finish_reason == "time" for g in got) > 0


def test_loops_are_ended(formatter: PromptFormatter, tmp_path: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_tiny_student(tmp_path)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    prompts = [[5], [6]]
    looped, short = generate(model, formatter, prompts, max_new_tokens=[600, 9], batch_size=2)
    assert (looped.num_tokens, looped.finish_reason) == (512, "loop")
    assert (short.num_tokens, short.finish_reason) == (9, "length")
    (free,) = generate(
        model, formatter, prompts[:1], max_new_tokens=600, batch_size=2, stop_loops=False
    )
    assert (free.num_tokens, free.finish_reason) == (600, "length")


def test_limits_are_lowered_to_the_context(
    model: PreTrainedModel, formatter: PromptFormatter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        got = generate(model, formatter, [[5] * 508, [6] * 5], max_new_tokens=20, batch_size=2)
    assert got[0].num_tokens == 4
    assert got[1] == generate(model, formatter, [[6] * 5], max_new_tokens=20, batch_size=1)[0]
    assert got[1].num_tokens == 20
    assert "lowered for 1 of 2 prompts, to 4 for the longest of 508 tokens" in caplog.text
    with pytest.raises(UserError, match="512"):
        generate(model, formatter, [[5] * 512], max_new_tokens=99, batch_size=1)


def test_the_model_can_be_trained_afterwards(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    generate(model, formatter, prompts[:2], max_new_tokens=3, batch_size=2)
    ids = torch.tensor([prompts[0]])
    model(ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()


def test_the_head_reads_contiguous_memory_and_is_left_as_it_was(
    model: PreTrainedModel, formatter: PromptFormatter, prompts: list[list[int]]
) -> None:
    head = model.get_output_embeddings()
    contiguous: list[bool] = []
    spy = head.register_forward_hook(
        lambda _, args, out: contiguous.append(args[0].is_contiguous())
    )
    generate(model, formatter, prompts, max_new_tokens=3, batch_size=4)
    spy.remove()
    assert contiguous
    assert all(contiguous)
    assert not head._forward_pre_hooks
