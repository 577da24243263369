"""Benchmarks on two processes: the results of one, weights unchanged to the bit, no deadlock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from callbacks.benchmark_evaluation import BenchmarkEvaluation
from nt_lightning.data.prompting import Prompting
from nt_lightning.evaluation import evaluate
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.cache import ResponseCache
from nt_lightning.evaluation.judging import judge
from nt_lightning.evaluation.results import Sample, read_results, read_samples, samples_path
from nt_lightning.evaluation.student_engine import weights_digest
from nt_lightning.student.evaluated import EvaluatedStudent
from nt_lightning.student.sharding import is_sharded
from tests.tiny import save_tiny_student

ROOT = Path(__file__).parents[2]
LIMIT_S = 240
FAILURE = os.environ.get("NT_TEST_FAILURE", "")  # what goes wrong on a rank: "judge-1", "keep-0"


def fail(what: str) -> None:
    """Raise where this rank is to fail."""
    if f"{what}-{os.environ.get('LOCAL_RANK', '0')}" == FAILURE:
        raise RuntimeError("a planted failure")


class Sums(Benchmark):
    version = "1"

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def problems(self) -> list[Problem]:
        texts = [f"What is {n} + 4? " + "Think of it. " * (n % 3) for n in range(self.count)]
        return [Problem(f"p{n}", text, str(n), "number") for n, text in enumerate(texts)]

    def grade(self, problem: Problem, answer: str) -> bool:
        return sum(map(ord, answer)) % 2 == 0  # so that some are right


class Trained(EvaluatedStudent):
    """The same student, trained on anything, sharded where the strategy shards."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        logits: torch.Tensor = self.model(batch, use_cache=False).logits
        return logits.float().logsumexp(-1).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-2)


class Batches(Prompting):
    num_steps = 3

    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        ids = torch.arange(48).reshape(12, 4) + 5
        return DataLoader(ids, batch_size=1)  # type: ignore[arg-type]


class Watch(Callback):
    """Digests of the weights in front of and behind every evaluation."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def note(self, trainer: Trainer, module: Any) -> None:
        if trainer.world_size > 1:
            is_parallel = isinstance(trainer.strategy, ModelParallelStrategy)
            assert is_sharded(module.model) == is_parallel
        self.digests.append(weights_digest(module.model))

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.note(trainer, module)

    on_train_end = on_test_start = on_test_end = lambda self, trainer, module: self.note(
        trainer, module
    )


class Began(Callback):
    """Tells the test that a rank is about to evaluate, and who it is."""

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        (Path(trainer.default_root_dir) / f"pid-{trainer.global_rank}").write_text(str(os.getpid()))


def run(kind: str, folder: str, root: Path, devices: int, num_problems: int = 7) -> list[str]:
    strategies: dict[str, Any] = {
        "alone": "auto",
        "ddp": "ddp",
        "model-parallel": ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
    }
    watch = Watch()
    sums = [Sums("many", num_problems), Sums("one", 1)]  # of the last the second rank has nothing
    evaluation = BenchmarkEvaluation(
        sums,
        ["no_think", "think"],
        every_n_steps=2,
        max_new_tokens=9,
        batch_size=2,
        temperature=0.8,
        repeats=2,
        seed=3,
        reuse=False,  # the test asks the same student again
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategies[kind if devices > 1 else "alone"],
        max_steps=3,
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Began(), evaluation, watch],
    )
    data: LightningDataModule = Batches(folder, num_words=40)
    module: LightningModule = Trained(folder)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    return watch.digests


def failing_judge(*args: Any, **kwargs: Any) -> Sample:
    fail("judge")
    return judge(*args, **kwargs)


def failing_keep(cache: ResponseCache, prompt: Any, response: Any) -> None:
    fail("keep")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if FAILURE.startswith("keep"):
        ResponseCache.keep = failing_keep  # type: ignore[assignment]
    elif FAILURE.startswith("judge"):
        evaluate.judge = failing_judge
    try:
        found = run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), 2, int(sys.argv[4]))
    except SIGTERMException:
        sys.exit(143)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        (Path(sys.argv[3]) / "digests.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, folder: str) -> Path:
    root = tmp_path_factory.mktemp("alone")
    run("alone", folder, root, 1)
    return root


def start(
    kind: str, folder: str, root: Path, num_problems: int, **further: str
) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__)), kind, folder, str(root), str(num_problems)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NT_CACHE": str(root / "cache")}
    environment |= further
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=ROOT, text=True, **pipes)


@pytest.mark.parametrize("kind", ["ddp", "model-parallel"])
def test_two_processes(kind: str, folder: str, alone: Path, tmp_path: Path) -> None:
    """Both train on the same batches, so that they stay the student that one process trains."""
    process = start(kind, folder, tmp_path, 7)
    errors = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 0, errors[-3000:]
    expected, got = read_results(alone).results, read_results(tmp_path).results
    assert {(r.stage, r.benchmark, r.mode) for r in got} == {
        (stage, benchmark, mode)
        for stage in ("before", "step-2", "after", "test")
        for benchmark in ("many", "one")
        for mode in ("no_think", "think")
    }
    assert got == expected
    for result in got:
        labels = (result.stage, result.benchmark, result.mode)
        assert read_samples(samples_path(tmp_path, *labels)) == read_samples(
            samples_path(alone, *labels)
        )
    digests = json.loads((tmp_path / "digests.json").read_text())
    # before step 1, 2, 3; the evaluation of step 2 lies between the 2nd and the 3rd step
    assert len(set(digests[:3])) == 3
    assert len(set(digests[3:])) == 1  # end of training, the evaluation after it, the whole test


def runs(pid: int) -> bool:
    """Whether a process does something still; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["ddp", "model-parallel"])
@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_to_one_rank_stops_both(kind: str, told: int, folder: str, tmp_path: Path) -> None:
    """In the middle of hours of generation, on one rank alone."""
    process = start(kind, folder, tmp_path, 20_000)
    pids = [tmp_path / f"pid-{rank}" for rank in range(2)]
    try:
        until = time.monotonic() + LIMIT_S
        while not all(path.is_file() for path in pids) and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(6)  # both generate
        assert process.poll() is None
        numbers = [int(path.read_text()) for path in pids]
        os.kill(numbers[told], signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 143, errors[-3000:]
    until = time.monotonic() + 30
    while runs(numbers[1]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not runs(numbers[1])
    assert read_results(tmp_path).results == []


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        *(("ddp", "judge-0"), ("ddp", "keep-1")),
        *(("model-parallel", "judge-1"), ("model-parallel", "keep-0")),
    ],
)
def test_a_failure_on_one_rank_ends_both(
    kind: str, failure: str, folder: str, tmp_path: Path
) -> None:
    """While the other one generates for hours, or waits behind its generation."""
    num_problems = 20_000 if failure.startswith("keep") else 3
    process = start(kind, folder, tmp_path, num_problems, NT_TEST_FAILURE=failure)
    try:
        errors = process.communicate(timeout=LIMIT_S / 2)[1]
    finally:
        process.kill()
    assert process.returncode not in (0, 143), errors[-3000:]
    assert "a planted failure" in errors
    number = int((tmp_path / "pid-1").read_text())
    until = time.monotonic() + 30
    while runs(number) and time.monotonic() < until:
        time.sleep(0.1)
    assert not runs(number)
    assert read_results(tmp_path).results == []
