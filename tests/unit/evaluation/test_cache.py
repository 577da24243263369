"""Responses are found again for exactly the same student, sampling and prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nt_lightning.evaluation.cache import ResponseCache
from nt_lightning.evaluation.engine import Prompt, Sampling
from nt_lightning.evaluation.forcing import BudgetForcing
from nt_lightning.evaluation.generation import Generation
from nt_lightning.evaluation.student_engine import weights_digest

ABOUT = {"weights": "abc", "dtype": "float32", "formatter": "def"}
SAMPLING = Sampling(max_new_tokens=8, temperature=0.6, top_p=0.95, seed=0)
PROMPT = Prompt("gsm8k/1/0", (1, 2, 3), "Q?", "<think>")
SAID = Generation("<think>\nx\u2028", 4, "stop", (7, 8, 9, 0))


def cache(root: Path, **changes: Any) -> ResponseCache:
    values = {"about": ABOUT, "sampling": SAMPLING, "forcing": None, "root": root, **changes}
    return ResponseCache(**values)


def test_a_finished_response_is_found_by_another_process(tmp_path: Path) -> None:
    first = cache(tmp_path)
    first.keep(PROMPT, SAID)
    first.keep(PROMPT, replace(SAID, text="another"))  # the first one stays
    found = cache(tmp_path).find([PROMPT._replace(key="gsm8k/2/0"), PROMPT])
    assert list(found) == [1]
    assert (found[1].text, found[1].num_tokens, found[1].finish_reason) == (SAID.text, 4, "stop")


@pytest.mark.parametrize(
    "changes",
    [
        {"about": {**ABOUT, "weights": "abd"}},
        {"about": {**ABOUT, "dtype": "bfloat16"}},
        {"about": {**ABOUT, "formatter": "other template or tokenizer"}},
        {"sampling": replace(SAMPLING, temperature=0.7)},
        {"sampling": replace(SAMPLING, top_p=1.0)},
        {"sampling": replace(SAMPLING, seed=1)},
        {"sampling": replace(SAMPLING, max_new_tokens=9)},
        {"sampling": replace(SAMPLING, stop_loops=False)},
        {"forcing": BudgetForcing(num_waits=1)},
    ],
)
def test_another_student_or_sampling_finds_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    cache(tmp_path).keep(PROMPT, SAID)
    assert cache(tmp_path, **changes).find([PROMPT]) == {}


@pytest.mark.parametrize("change", [{"ids": (1, 2, 4)}, {"key": "gsm8k/1/1"}, {"begun": ""}])
def test_another_prompt_repeat_or_mode_finds_nothing(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    cache(tmp_path).keep(PROMPT, SAID)
    assert cache(tmp_path).find([PROMPT._replace(**change)]) == {}


def test_another_version_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(tmp_path).keep(PROMPT, SAID)
    monkeypatch.setattr("nt_lightning.evaluation.cache.version", lambda name: "99")
    assert cache(tmp_path).find([PROMPT]) == {}


def test_what_a_limit_of_the_call_has_cut_is_not_kept(tmp_path: Path) -> None:
    own = cache(tmp_path)
    own.keep(PROMPT, replace(SAID, finish_reason="time"))
    assert cache(tmp_path).find([PROMPT]) == {}
    own.keep(PROMPT, replace(SAID, finish_reason="length"))
    assert list(cache(tmp_path).find([PROMPT])) == [0]


def test_an_unknown_student_keeps_and_finds_nothing(tmp_path: Path) -> None:
    own = cache(tmp_path, about=None)
    own.keep(PROMPT, SAID)
    assert own.find([PROMPT]) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_has_cut_is_passed_over_and_no_text_is_plain(tmp_path: Path) -> None:
    own = cache(tmp_path)
    own.keep(PROMPT, SAID)
    own.keep(PROMPT._replace(key="b"), replace(SAID, text="The canary is here. " * 9))
    (path,) = tmp_path.rglob("*.jsonl")
    assert b"canary" not in path.read_bytes()
    for length in range(len(path.read_bytes()) - 1):
        whole = path.read_bytes()
        path.write_bytes(whole[:length])
        found = cache(tmp_path).find([PROMPT, PROMPT._replace(key="b")])
        assert list(found) in ([], [0])
        path.write_bytes(whole)
    assert list(cache(tmp_path).find([PROMPT, PROMPT._replace(key="b")])) == [0, 1]


def test_the_digest_of_weights_knows_every_bit_name_shape_and_type() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    digest = weights_digest(model)
    assert weights_digest(model) == digest
    with torch.no_grad():
        flipped = model[0].weight.view(torch.int32)
        flipped[1, 2] ^= 1
        assert weights_digest(model) != digest
        flipped[1, 2] ^= 1
    assert weights_digest(model) == digest
    model[1].running_mean[0] += 1  # a buffer that is saved
    assert weights_digest(model) != digest
    model[1].running_mean[0] -= 1
    assert weights_digest(model.bfloat16()) != digest
