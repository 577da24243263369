"""Lack of memory, and ranks that share one model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from nt_lightning.errors import UserError
from nt_lightning.evaluation.generation import generate, rehearse
from nt_lightning.traces.formatting import PromptFormatter
from tests.tiny import save_tiny_student

FAMILIES: list[tuple[str, dict[str, Any]]] = [("llama", {}), ("mistral", {"sliding_window": 8})]
PROMPTS = [[5 + n] * (3 + 4 * n) for n in range(7)]
RANKS_SCRIPT = """
import sys
import torch
import torch.distributed as dist
from tests.unit.evaluation.test_running import any_of_all, uneven
root, family, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = f"file://{root}/{family}-store"
dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
print(*uneven(f"{root}/{family}", rank, any_of_all))
dist.destroy_process_group()
"""


def student(folder: Path | str) -> tuple[Any, PromptFormatter]:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, PromptFormatter(AutoTokenizer.from_pretrained(folder))


@contextmanager
def small_memory(model: Any, most_rows: int) -> Iterator[list[int]]:
    """A device on which more rows do not fit; yields the rows of every call."""
    sizes: list[int] = []

    def check(_: Any, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > most_rows:
            raise torch.OutOfMemoryError("too many rows")

    hook = model.register_forward_pre_hook(check, with_kwargs=True)
    yield sizes
    hook.remove()


@pytest.mark.parametrize(("family", "overrides"), FAMILIES)
def test_a_lack_of_memory_halves_the_batch(
    tmp_path: Path, family: str, overrides: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    model, formatter = student(save_tiny_student(tmp_path, family, **overrides))
    wanted = generate(model, formatter, PROMPTS, max_new_tokens=4, batch_size=2)
    with small_memory(model, 2) as sizes:
        got = generate(model, formatter, PROMPTS, max_new_tokens=4, batch_size=6)
    assert got == wanted
    assert max(sizes) == 6
    assert "generating 3 responses at a time" in caplog.text
    assert "generating 1 responses at a time" in caplog.text
    with small_memory(model, 0), pytest.raises(torch.OutOfMemoryError):
        generate(model, formatter, PROMPTS, max_new_tokens=4, batch_size=6)


@pytest.mark.parametrize(("family", "overrides"), FAMILIES)
def test_memory_that_ends_on_the_way_costs_no_token(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    model, formatter = student(save_tiny_student(tmp_path, family, **overrides))
    wanted = generate(model, formatter, PROMPTS, max_new_tokens=12, batch_size=2)
    columns: list[int] = []

    def check(_: Any, args: Any, kwargs: Any) -> None:
        mask = kwargs["attention_mask"]
        if isinstance(mask, dict):
            return
        columns.append(mask.shape[1])
        if len(mask) > 3 and mask.shape[1] > 32:
            raise torch.OutOfMemoryError

    told: list[int] = []
    hook = model.register_forward_pre_hook(check, with_kwargs=True)
    got = generate(
        model,
        formatter,
        PROMPTS,
        max_new_tokens=12,
        batch_size=7,
        on_response=lambda index, _: told.append(index),
    )
    hook.remove()
    assert got == wanted
    assert sorted(told) == list(range(7))


@pytest.mark.parametrize(("family", "overrides"), FAMILIES)
def test_hidden_defaults_have_no_effect(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    model, formatter = student(save_tiny_student(tmp_path, family, **overrides))
    clean = generate(model, formatter, PROMPTS, max_new_tokens=12, batch_size=4)
    common = clean[0].ids[1]  # a token that comes would end a response
    hidden = GenerationConfig(eos_token_id=[common], repetition_penalty=9.0, max_length=7)
    model.generation_config = hidden
    assert generate(model, formatter, PROMPTS, max_new_tokens=12, batch_size=4) == clean
    assert model.generation_config is hidden


def test_a_rehearsal_says_what_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, formatter = student(save_tiny_student(tmp_path))
    with small_memory(model, 99) as sizes:
        assert rehearse(model, formatter, PROMPTS, 4) == 4
    assert sizes == [1, 4, 4]  # a look at the cache, the longest prompts, one token beyond
    with small_memory(model, 3):
        assert rehearse(model, formatter, PROMPTS, 6) == 3
    assert "generating 3 responses at a time" in caplog.text
    with small_memory(model, 0), pytest.raises(UserError, match="longest prompts .up to 27 tokens"):
        rehearse(model, formatter, PROMPTS, 6)
    assert rehearse(model, formatter, [], 6) == 6


def test_a_rehearsal_refuses_a_prompt_that_fills_the_context(tmp_path: Path) -> None:
    model, formatter = student(save_tiny_student(tmp_path, max_position_embeddings=128))
    assert rehearse(model, formatter, [[5] * 127, [6]], 2) == 2
    for length in (128, 244):
        with pytest.raises(UserError, match=f"a prompt of {length} tokens .* is 128"):
            rehearse(model, formatter, [[6], [5] * length], 2)


def any_of_all(mine: bool) -> bool:
    """Whether any rank has work, by gloo."""
    votes = torch.tensor([int(mine)])
    torch.distributed.all_reduce(votes)
    return bool(votes)


def uneven(folder: str, rank: int, agree: Any) -> list[int]:
    """Calls of the model in three rounds: uneven work, work for rank 1 alone, and none at all."""
    model, formatter = student(folder)
    calls: list[int] = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    counts = []
    for own in ((PROMPTS[:2], PROMPTS[2:]), ([], PROMPTS), ([], [])):
        mine = own[rank]
        got = generate(model, formatter, mine, max_new_tokens=6, batch_size=2, agree=agree)
        assert [g.num_tokens for g in got] == [6] * len(mine)
        counts.append(len(calls))
    rehearse(model, formatter, PROMPTS[: 3 * rank], 2, agree=agree)
    return [*counts, len(calls)]


@pytest.mark.parametrize(("family", "overrides"), FAMILIES)
def test_ranks_call_the_model_equally_often(
    tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    save_tiny_student(tmp_path / family, family, **overrides)
    command = [sys.executable, "-c", RANKS_SCRIPT, str(tmp_path), family]
    ranks = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    first, second = (rank.communicate(timeout=100)[0] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert first == second
    counts = [int(count) for count in first.split()]
    assert 6 < counts[0] < counts[1] <= counts[2] < counts[3]


def test_a_rank_that_has_not_enough_memory_fails_at_once(tmp_path: Path) -> None:
    """The others are within the same call; to begin again would hang them."""
    model, formatter = student(save_tiny_student(tmp_path))
    with small_memory(model, 2), pytest.raises(torch.OutOfMemoryError):
        generate(model, formatter, PROMPTS, max_new_tokens=4, batch_size=4, agree=lambda mine: mine)
