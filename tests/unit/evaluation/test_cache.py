"""Responses are found again for exactly the same student, sampling and prompt."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nt_lightning.evaluation.cache import ResponseCache, affordable
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


def test_a_read_only_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache(tmp_path).keep(PROMPT, SAID)

    open_file = Path.open

    def refuse(path: Path, *given: Any, **named: Any) -> Any:
        if given == ("ab",) or path.is_dir():
            raise OSError(errno.EROFS, "Read-only file system")
        return open_file(path, *given, **named)

    monkeypatch.setattr("nt_lightning.evaluation.cache.os.utime", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    own = cache(tmp_path)
    assert list(own.find([PROMPT])) == [0]
    assert caplog.records == []
    own.keep(PROMPT._replace(key="b"), SAID)
    own.keep(PROMPT._replace(key="c"), SAID)
    assert list(own.find([PROMPT])) == [0]
    assert [record.getMessage().count("Read-only") for record in caplog.records] == [1]


def test_a_cache_that_cannot_be_written_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    own = cache(tmp_path / "file")
    own.keep(PROMPT, SAID)
    own.keep(PROMPT._replace(key="b"), SAID)
    (told,) = caplog.records
    assert "responses are not kept for later in" in told.getMessage()
    assert "Not a directory" in told.getMessage()


def test_a_full_disk_leaves_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = cache(tmp_path)
    own.keep(PROMPT, SAID)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nt_lightning.evaluation.cache.os.fsync", full)
        own.keep(PROMPT._replace(key="b"), SAID)
    own.keep(PROMPT._replace(key="c"), SAID)
    assert [record.getMessage().count("No space left") for record in caplog.records] == [1]
    assert list(own.find([PROMPT])) == [0]
    assert 2 not in cache(tmp_path).find([PROMPT, PROMPT, PROMPT._replace(key="c")])


def test_a_file_that_cannot_be_read_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache(tmp_path).keep(PROMPT, SAID)
    (folder,) = tmp_path.iterdir()
    (folder / "a.jsonl").mkdir()
    assert cache(tmp_path).find([PROMPT]) == {}
    assert "Is a directory" in caplog.text


def test_folders_that_nobody_has_used_for_90_days_go(tmp_path: Path) -> None:
    folders = []
    for seed in range(3):
        cache(tmp_path, sampling=replace(SAMPLING, seed=seed)).keep(PROMPT, SAID)
        folders += [path for path in tmp_path.iterdir() if path not in folders]
    for folder, days in zip(folders, (89, 91, 91), strict=True):
        then = time.time() - days * 24 * 3600
        os.utime(folder, (then, then))
    (tmp_path / "mine").mkdir()
    os.utime(tmp_path / "mine", (0, 0))
    used = cache(tmp_path, sampling=replace(SAMPLING, seed=2))  # opened: its age is zero
    used.keep(PROMPT._replace(key="b"), SAID)
    assert len(list(tmp_path.iterdir())) == 4  # no folder was made
    cache(tmp_path, sampling=replace(SAMPLING, seed=3)).keep(PROMPT, SAID)
    found = {
        seed: bool(cache(tmp_path, sampling=replace(SAMPLING, seed=seed)).find([PROMPT]))
        for seed in range(4)
    }
    assert found == {0: True, 1: False, 2: True, 3: True}
    assert (tmp_path / "mine").is_dir()


def test_a_response_is_kept_in_memory_without_its_ids(tmp_path: Path) -> None:
    own = cache(tmp_path)
    own.keep(PROMPT, SAID)
    assert own.find([PROMPT])[0] == cache(tmp_path).find([PROMPT])[0]


@pytest.mark.parametrize(
    ("most", "paid", "left"),
    [(None, [0, 3, 7], None), (12, [0, 3, 7], 0), (13, [0, 3, 7], 1), (11, [0, 3], 0), (3, [], 0)],
)
def test_a_budget_counts_what_is_found(most: int | None, paid: list[int], left: int | None) -> None:
    found = dict.fromkeys((0, 3, 7), SAID)  # 4 tokens each
    assert affordable(found, most) == (dict.fromkeys(paid, SAID), left)


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
