"""Two ranks evaluate as one does: with budget forcing, and where only one of them has a cache."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from nt_lightning.evaluation import cache
from nt_lightning.evaluation.evaluate import Evaluation
from nt_lightning.evaluation.forcing import END_OF_THINKING, BudgetForcing
from nt_lightning.evaluation.results import Sample, read_results, read_samples, samples_path
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.student.sharding import agreement
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from tests.tiny import save_tiny_student
from tests.unit.evaluation.test_evaluate import Sums

ROOT = Path(__file__).parents[3]
LIMIT_S = 110
FORCING = BudgetForcing(max_thinking_tokens=5, num_waits=1)
# Which ranks find the responses of one process in their cache, and whether every forward pass is
# everybody's, as of a sharded student.
CASES: list[tuple[list[int], bool]] = [
    ([], False),
    ([], True),
    ([0], False),
    ([0], True),
    ([1], True),
]


def evaluate(root: Path, rank: int = 0, world_size: int = 1, is_collective: bool = False) -> None:
    folder = str(root.parent / "student")
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(folder))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    agree = agreement(torch.device("cpu")) if is_collective else None
    settings = EvaluationSettings(
        max_new_tokens=24, temperature=1.0, top_p=1.0, repeats=2, forcing=FORCING
    )
    evaluation = Evaluation(
        StudentEngine(model, formatter, 2, agree),
        formatter,
        ThinkModes().with_num_words(40),
        settings,
        run=root,
        stage="test",
        step=0,
        rank=rank,
        world_size=world_size,
    )
    with torch.no_grad():
        evaluation([Sums(3)], ["adaptive", "think"])


@contextmanager
def cache_at(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "cache_dir", lambda: folder)
        yield


def case_folder(root: Path, case: tuple[list[int], bool]) -> Path:
    return root / f"case-{CASES.index(case)}"


def rank_main(root: Path, rank: int) -> None:
    store = f"file://{root}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    for case in CASES:
        warm, is_collective = case
        folder = case_folder(root, case)
        with cache_at(root / "warm" if rank in warm else folder / f"cache-{rank}"):
            evaluate(folder, rank, 2, is_collective)
    dist.destroy_process_group()


def samples_of(folder: Path) -> list[Sample]:
    return [
        sample
        for mode in ("adaptive", "think")
        for sample in read_samples(samples_path(folder, "test", "sums", mode))
    ]


def test_two_ranks_with_forcing_and_caches_of_their_own(tmp_path: Path) -> None:
    save_tiny_student(tmp_path / "student")
    with cache_at(tmp_path / "warm"):
        evaluate(tmp_path / "alone")
    script = "import sys; from pathlib import Path; from tests.unit.evaluation.test_ranks import "
    script += "rank_main; rank_main(Path(sys.argv[1]), int(sys.argv[2]))"
    ranks: list[Any] = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(rank)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=LIMIT_S)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], errors
    alone, expected = read_results(tmp_path / "alone"), samples_of(tmp_path / "alone")
    assert any(END_OF_THINKING in one.response for one in expected)
    for case in CASES:
        folder = case_folder(tmp_path, case)
        assert samples_of(folder) == expected
        found = read_results(folder)
        own = {0: 4, 1: 2}  # problems 0 and 2, and problem 1, each asked twice
        reused = sum(own[rank] for rank in case[0])
        assert [result.num_reused for result in found.results] == [reused, reused]
        assert [replace(result, num_reused=0) for result in found.results] == alone.results
        assert json.dumps(found.settings) == json.dumps(alone.settings)
