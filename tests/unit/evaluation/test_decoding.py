"""Rows that are refilled, and rows that only leave: the others do not notice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from nt_lightning.evaluation.decoding import can_refill, decode_refilling
from nt_lightning.evaluation.rows import Decoding, Row, Work
from nt_lightning.evaluation.shrinking import decode_shrinking
from tests.tiny import save_tiny_student

LIMIT = 24
REFILLED: list[tuple[str, dict[str, Any]]] = [("llama", {}), ("qwen2", {}), ("qwen3", {})]
SLIDING: list[tuple[str, dict[str, Any]]] = [
    ("mistral", {"sliding_window": 8}),
    ("gemma2", {"sliding_window": 8}),
    ("gemma3_text", {"sliding_window": 8}),
]


@torch.no_grad()
def naive(model: Any, prompt: list[int]) -> list[int]:
    """One row, no cache, no padding, no stop."""
    ids = list(prompt)
    for _ in range(LIMIT):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def cut(ids: list[int], stop_ids: frozenset[int]) -> list[int]:
    stops = [place for place, token in enumerate(ids) if token in stop_ids]
    return ids[: stops[0] + 1] if stops else ids


def prompts_of_many_lengths() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 20, (14,), generator=generator).tolist()
    return [torch.randint(3, 340, (n,), generator=generator).tolist() for n in lengths]


def rows_of(prompts: list[list[int]], limit: int = LIMIT) -> list[Row]:
    return [Row(index, prompt, str(index), limit) for index, prompt in enumerate(prompts)]


def frequent(rows: list[list[int]], count: int) -> frozenset[int]:
    common = Counter(token for row in rows for token in set(row)).most_common(count)
    return frozenset(token for token, _ in common)


def tiny(tmp_path: Path, family: str = "llama", **overrides: Any) -> Any:
    folder = save_tiny_student(tmp_path / family, family, **overrides)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config = GenerationConfig()  # as ``running.finish`` does
    return model


@torch.no_grad()
def decoded(decode: Any, model: Any, decoding: Decoding, rows: list[Row], size: int) -> Any:
    decode(model, Work(decoding, rows), size)
    return [row.ids for row in rows]


class Calls:
    """Shapes of the ids and of the masks that a model is called with."""

    def __init__(self, model: Any) -> None:
        self.ids: list[tuple[int, ...]] = []
        self.masks: list[tuple[int, ...]] = []
        self.logits: list[int] = []
        model.register_forward_pre_hook(self._before, with_kwargs=True)
        model.register_forward_hook(lambda *call: self.logits.append(call[-1].logits.shape[1]))

    def _before(self, _: Any, args: Any, kwargs: Any) -> None:
        self.ids.append(tuple(kwargs["input_ids"].shape))
        self.masks.append(tuple(kwargs["attention_mask"].shape))


@pytest.mark.parametrize(("family", "overrides"), REFILLED + SLIDING)
def test_the_cache_says_what_can_be_refilled(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    model = tiny(tmp_path, family, **overrides)
    with torch.no_grad():
        assert can_refill(model, model) is ((family, overrides) in REFILLED)


@pytest.mark.parametrize(("family", "overrides"), REFILLED)
@pytest.mark.parametrize("size", [1, 3, 8, 14])
def test_refilled_rows_equal_the_naive_loop(
    tmp_path: Path, family: str, overrides: dict[str, Any], size: int
) -> None:
    model = tiny(tmp_path, family, **overrides)
    prompts = prompts_of_many_lengths()
    free = [naive(model, prompt) for prompt in prompts]
    stop_ids = frequent(free, 6)
    expected = [cut(row, stop_ids) for row in free]
    assert len({len(row) for row in expected}) > 3  # or the test shows nothing
    calls = Calls(model)
    decoding = Decoding(stop_ids)
    assert decoded(decode_refilling, model, decoding, rows_of(prompts), size) == expected
    assert max(num_rows for num_rows, _ in calls.ids) == size
    assert set(calls.logits) == {1}


def test_freed_rows_are_refilled_in_groups_and_columns_are_dropped(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    limits = [2, 3, 4, 5, 30, 30, 30, 30, 6, 6, 6, 6, 9]
    prompts = [[5 + i] * (40 if i < 4 else 6) for i in range(13)]
    rows = [Row(i, prompt, "", limits[i]) for i, prompt in enumerate(prompts)]
    calls = Calls(model)
    decoded(decode_refilling, model, Decoding(frozenset()), rows, 8)
    assert [len(row.ids) for row in rows] == limits
    read = [shape for shape in calls.ids if shape[1] > 1]
    assert read == [(8, 40), (2, 6), (2, 6), (1, 6)]  # a quarter of eight at a time
    steps = [mask for ids, mask in zip(calls.ids, calls.masks, strict=True) if ids[1] == 1]
    assert steps[0] == (8, 41)
    assert max(width for _, width in steps) < 45
    assert steps[-1] == (5, 6 + 29)  # no column more than needed; one of five is no quarter
    assert sum(num_rows for num_rows, _ in steps) < 1.3 * (sum(limits) - len(limits))


@pytest.mark.parametrize(("family", "overrides"), SLIDING + REFILLED[:1])
def test_rows_equal_the_naive_loop_while_the_batch_shrinks(
    tmp_path: Path, family: str, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(tmp_path, family, **overrides)
    prompts = prompts_of_many_lengths()
    free = [naive(model, prompt) for prompt in prompts]
    stop_ids = frequent(free, 8)
    expected = [cut(row, stop_ids) for row in free]
    assert len({len(row) for row in expected}) > 1
    sizes: list[int] = []
    original = model.generate

    def spy(ids: torch.Tensor, **kwargs: Any) -> Any:
        sizes.append(len(ids))
        return original(ids, **kwargs)

    monkeypatch.setattr(model, "generate", spy)
    assert decoded(decode_shrinking, model, Decoding(stop_ids), rows_of(prompts), 14) == expected
    assert sizes[0] == 14
    assert len(sizes) > 1
    assert all(2 * later <= earlier for earlier, later in zip(sizes, sizes[1:], strict=False))


@pytest.mark.parametrize("decode", [decode_refilling, decode_shrinking])
def test_a_sampled_response_does_not_depend_on_its_company(tmp_path: Path, decode: Any) -> None:
    model = tiny(tmp_path)
    decoding = Decoding(frozenset(range(60, 90)), temperature=1.0, top_p=0.9, seed=3)
    rows = rows_of(prompts_of_many_lengths())
    together = decoded(decode, model, decoding, rows, 5)
    assert len({len(row) for row in together}) > 3
    for row, ids in zip(rows, together, strict=True):
        alone = Row(0, row.prompt, row.key, LIMIT)
        assert decoded(decode_refilling, model, decoding, [alone], 1) == [ids]


@pytest.mark.parametrize("decode", [decode_refilling, decode_shrinking])
def test_a_response_that_was_put_back_goes_on_where_it_was(tmp_path: Path, decode: Any) -> None:
    model = tiny(tmp_path)
    prompts = prompts_of_many_lengths()
    for decoding in (Decoding(frozenset()), Decoding(frozenset(), temperature=1.0)):
        whole = decoded(decode_refilling, model, decoding, rows_of(prompts), 14)
        rows = rows_of(prompts)
        work = Work(Decoding(frozenset(), decoding.temperature, max_total_tokens=50), rows)
        with torch.no_grad():
            decode(model, work, 5)
        assert 50 <= sum(len(row.ids) for row in rows) < 55
        assert 0 < len([row for row in rows if row.ids]) < 14
        work.put_back()
        assert [row.index for row in work.waiting if row.ids] == [
            row.index for row in list(work.waiting)[: len([row for row in rows if row.ids])]
        ]
        work.decoding = decoding
        with torch.no_grad():
            decode(model, work, 3)
        assert [row.ids for row in rows] == whole


@pytest.mark.parametrize("decode", [decode_refilling, decode_shrinking])
def test_a_response_that_goes_round_is_ended(tmp_path: Path, decode: Any) -> None:
    model = tiny(tmp_path)
    with torch.no_grad():  # a head that says the same whatever it sees
        for parameter in model.parameters():
            parameter.zero_()
    rows = [Row(0, [5, 6], "", 700), Row(1, [5, 6, 7], "", 300)]
    decoded(decode, model, Decoding(frozenset()), rows, 2)
    assert [(len(row.ids), row.finish_reason) for row in rows] == [(512, "loop"), (300, "length")]
    rows = [Row(0, [5, 6], "", 600)]
    decoded(decode, model, Decoding(frozenset(), stop_loops=False), rows, 2)
    assert [(len(row.ids), row.finish_reason) for row in rows] == [(600, "length")]


def test_positions_never_leave_the_context(tmp_path: Path) -> None:
    """A row that has ended waits for the exchange without going on."""
    model = tiny(tmp_path, max_position_embeddings=64)
    seen: list[int] = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(int(kwargs["position_ids"].max())), with_kwargs=True
    )
    rows = [Row(0, [5] * 60, "", 4), *(Row(i, [5 + i] * 9, "", 50) for i in range(1, 8))]
    decoded(decode_refilling, model, Decoding(frozenset()), rows, 8)
    assert max(seen) == 63  # of 64 positions


def test_a_model_that_returns_no_cache_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(tmp_path)
    prompts, decoding = prompts_of_many_lengths(), Decoding(frozenset(range(60, 120)))
    expected = decoded(decode_refilling, model, decoding, rows_of(prompts), 14)
    original = model.generate

    def forgetful(ids: torch.Tensor, **kwargs: Any) -> Any:
        output = original(ids, **kwargs)
        output.past_key_values = None
        return output

    monkeypatch.setattr(model, "generate", forgetful)
    assert decoded(decode_shrinking, model, decoding, rows_of(prompts), 14) == expected
