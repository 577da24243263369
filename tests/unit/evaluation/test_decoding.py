"""Finished responses leave their batch, and the others do not notice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from nt_lightning.evaluation.decoding import Decoding, decode_batch
from tests.tiny import save_tiny_student

LIMIT = 24
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("qwen3", {}),
    ("mistral", {"sliding_window": 8}),
    ("gemma3_text", {"sliding_window": 8}),
]


def decoding(stop_ids: list[int], **changes: Any) -> Decoding:
    values = {"max_new_tokens": LIMIT, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    return Decoding(stop_ids, **{**values, "deadline": None, "report": lambda _: None, **changes})


@torch.no_grad()
def naive(model: Any, prompt: list[int]) -> list[int]:
    """One row, no cache, no padding, no stop."""
    ids = list(prompt)
    for _ in range(LIMIT):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def cut(ids: list[int], stop_ids: list[int]) -> list[int]:
    stops = [place for place, token in enumerate(ids) if token in stop_ids]
    return ids[: stops[0] + 1] if stops else ids


def prompts_of_many_lengths() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 20, (14,), generator=generator).tolist()
    return [torch.randint(3, 340, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize(("family", "overrides"), FAMILIES)
def test_responses_equal_the_naive_loop_while_the_batch_shrinks(
    tmp_path: Path, family: str, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_tiny_student(tmp_path, family, **overrides))
    prompts = prompts_of_many_lengths()
    free = [naive(model.eval(), prompt) for prompt in prompts]
    common = Counter(token for row in free for token in set(row)).most_common(8)
    stop_ids = [token for token, _ in common]
    expected = [cut(row, stop_ids) for row in free]
    assert len({len(row) for row in expected}) > 1  # or the test shows nothing

    sizes: list[int] = []
    original = model.generate

    def spy(ids: torch.Tensor, **kwargs: Any) -> Any:
        sizes.append(len(ids))
        return original(ids, **kwargs)

    monkeypatch.setattr(model, "generate", spy)
    seen: list[int] = []
    keys = [str(i) for i in range(len(prompts))]
    options = decoding(stop_ids, report=seen.append)
    assert decode_batch(model, options, prompts, keys, num_before=5) == expected
    assert sizes[0] == 14
    assert len(sizes) > 1
    assert all(2 * later <= earlier for earlier, later in zip(sizes, sizes[1:], strict=False))
    assert seen == sorted(seen)
    assert seen[0] >= 5


def test_a_sampled_response_does_not_depend_on_those_that_left(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_tiny_student(tmp_path)).eval()
    prompts = prompts_of_many_lengths()
    keys = [f"k{i}" for i in range(len(prompts))]
    options = decoding(list(range(60, 90)), temperature=1.0, top_p=0.9)
    together = decode_batch(model, options, prompts, keys, 0)
    assert len({len(row) for row in together}) > 3
    for prompt, key, row in zip(prompts, keys, together, strict=True):
        assert decode_batch(model, options, [prompt], [key], 0) == [row]


def test_a_model_that_returns_no_cache_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_tiny_student(tmp_path)).eval()
    prompts, stop_ids = prompts_of_many_lengths(), list(range(60, 120))
    keys = [""] * len(prompts)
    expected = decode_batch(model, decoding(stop_ids), prompts, keys, 0)
    original = model.generate

    def forgetful(ids: torch.Tensor, **kwargs: Any) -> Any:
        output = original(ids, **kwargs)
        output.past_key_values = None
        return output

    monkeypatch.setattr(model, "generate", forgetful)
    assert decode_batch(model, decoding(stop_ids), prompts, keys, 0) == expected
