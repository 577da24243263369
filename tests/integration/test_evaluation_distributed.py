"""Benchmarks on two processes: the results of one, weights unchanged to the bit, no deadlock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
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
from nt_lightning.evaluation.results import read_results, read_samples, samples_path
from nt_lightning.evaluation.student_engine import weights_digest
from nt_lightning.files import replacing_file
from nt_lightning.student.evaluated import EvaluatedStudent
from nt_lightning.student.sharding import is_sharded
from tests import forked
from tests.integration.command import ROOT
from tests.tiny import save_tiny_student

LIMIT_S = 240


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
        told = Path(trainer.default_root_dir) / f"began-{trainer.global_rank}"
        with replacing_file(told) as partial:
            partial.write_text(str(os.getpid()))


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


def fail(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("a planted failure")


def on_one_rank(kind: str, folder: str, root: Path, num_problems: int, failure: str) -> int:
    """As one of two; ``failure`` says what goes wrong on which of them: "judge-1", "keep-0"."""
    rank = os.environ.get("LOCAL_RANK", "0")
    os.environ["NT_CACHE"] = str(root / "cache")
    if failure.startswith("keep"):  # no file of thousands of responses on the other one
        failing = failure == f"keep-{rank}"
        ResponseCache.keep = fail if failing else lambda *_: None  # type: ignore[assignment]
    elif failure == f"judge-{rank}":
        evaluate.judge = fail  # type: ignore[assignment]
    try:
        found = run(kind, folder, root, 2, num_problems)
    except SIGTERMException:
        return 143
    if rank == "0":
        (root / "digests.json").write_text(json.dumps(found))
    return 0


def launched(folder: str, root: str) -> int:
    """As the rank that starts the other one, or as that."""
    return on_one_rank("ddp", folder, Path(root), 20_000, "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, folder: str) -> Path:
    root = tmp_path_factory.mktemp("alone")
    run("alone", folder, root, 1)
    return root


def end(processes: list[ForkServerProcess], within_s: float) -> list[int | None]:
    """Exit codes; None for one that still ran and was killed."""
    until = time.monotonic() + within_s
    try:
        for process in processes:
            process.join(max(until - time.monotonic(), 0))
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("kind", ["ddp", "model-parallel"])
def test_two_processes(kind: str, folder: str, alone: Path, tmp_path: Path) -> None:
    """Both train on the same batches, so that they stay the student that one process trains."""
    forked.ranks(2, tmp_path / "log", on_one_rank, kind, folder, tmp_path, 7, "")
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


def wait_for_evaluation(folder: Path) -> None:
    """Until both ranks generate."""
    began = [folder / f"began-{rank}" for rank in range(2)]
    until = time.monotonic() + LIMIT_S
    while not all(path.is_file() for path in began) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(6)


@pytest.mark.parametrize("kind", ["ddp", "model-parallel"])
@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_to_one_rank_stops_both(kind: str, told: int, folder: str, tmp_path: Path) -> None:
    """In the middle of hours of generation, on one rank alone."""
    log = tmp_path / "log"
    processes = forked.start_ranks(2, log, on_one_rank, kind, folder, tmp_path, 20_000, "")
    try:
        wait_for_evaluation(tmp_path)
        assert all(process.is_alive() for process in processes), log.read_text()[-3000:]
        os.kill(processes[told].pid, signal.SIGTERM)
    finally:
        codes = end(processes, 60)
    assert codes == [143, 143], log.read_text()[-3000:]
    assert read_results(tmp_path).results == []


def is_running(pid: int) -> bool:
    """Whether a process does something still; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_sigterm_to_a_rank_that_has_started_the_other(folder: str, tmp_path: Path) -> None:
    """``python SCRIPT``: Lightning starts the second rank, and passes the signal on."""
    code = f"import sys; from {__name__} import launched; sys.exit(launched(*sys.argv[1:]))"
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", script, folder, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for_evaluation(tmp_path)
        assert process.poll() is None
        process.terminate()
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 143, errors[-3000:]
        until = time.monotonic() + 30
        while is_running(int((tmp_path / "began-1").read_text())):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):  # nobody of the group is left
            os.killpg(process.pid, signal.SIGKILL)
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
    log = tmp_path / "log"
    arguments = (kind, folder, tmp_path, num_problems, failure)
    codes = end(forked.start_ranks(2, log, on_one_rank, *arguments), LIMIT_S / 2)
    assert not {0, 143, None} & {*codes}, log.read_text()[-3000:]
    assert "a planted failure" in log.read_text()
    assert read_results(tmp_path).results == []
