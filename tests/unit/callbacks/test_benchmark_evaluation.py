"""Stages, metrics, resume, and that training does not notice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from callbacks.benchmark_evaluation import BenchmarkEvaluation
from nt_lightning.errors import UserError
from nt_lightning.evaluation import running
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.results import read_results, read_samples, samples_path, write_results
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from tests.tiny import save_tiny_student


class Sums(Benchmark):
    """Small sums; draws from the global generators, as some question generators do."""

    version = "1"

    def __init__(self, name: str = "sums", count: int = 3) -> None:
        self.name = name
        self.count = count

    def problems(self) -> list[Problem]:
        random.random(), np.random.random(), torch.rand(1)
        return [
            Problem(str(i), f"What is {i} + 4?", str(i + 4), "exact") for i in range(self.count)
        ]

    def grade(self, problem: Problem, answer: str) -> bool:
        return answer == problem.reference_answer

    def baselines(self, problems: Sequence[Problem]) -> dict[str, float]:
        return {"majority": 1 / len(problems)}


class TinyData(LightningDataModule):
    def __init__(self, folder: str, num_steps: int) -> None:
        super().__init__()
        self.formatter = PromptFormatter(AutoTokenizer.from_pretrained(folder))
        self.modes = ThinkModes().with_num_words(40)
        self.num_steps = num_steps

    def train_dataloader(self) -> Any:
        ids = torch.randint(3, 300, (64, 6), generator=torch.Generator().manual_seed(0))
        return DataLoader(ids, batch_size=2, generator=torch.Generator())  # type: ignore[arg-type]

    def test_dataloader(self) -> Any:
        return self.train_dataloader()


class TinyModule(LightningModule):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self.model = AutoModelForCausalLM.from_pretrained(folder).train()
        self.dropout = torch.nn.Dropout(0.5)
        self.seen_states: list[torch.Tensor] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        assert self.training
        self.seen_states.append(torch.get_rng_state())
        logits = self.model(batch, use_cache=False).logits
        return self.dropout(logits.float()).logsumexp(-1).mean()

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    @contextmanager
    def engine(self, formatter: Any, batch_size: int) -> Iterator[StudentEngine]:
        self.model.eval()
        with torch.no_grad():
            yield StudentEngine(self.model, formatter, batch_size)
        self.model.train()


class MemoryLogger(Logger):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    name = "memory"
    version = 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def steps_of(self, metric: str) -> list[int | None]:
        return [step for step, metrics in self.rows if metric in metrics]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_student(tmp_path_factory.mktemp("student"))


def evaluation(**changes: Any) -> BenchmarkEvaluation:
    values = {"benchmarks": [Sums()], "modes": ["no_think", "think"], "max_new_tokens": 3}
    return BenchmarkEvaluation(**{**values, "batch_size": 2, "temperature": 0.0, **changes})


def trainer(root: Path, *callbacks: Callback, **changes: Any) -> Trainer:
    values: dict[str, Any] = {
        "default_root_dir": root,
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 4,
        "log_every_n_steps": 20,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": list(callbacks),
    }
    return Trainer(**{**values, **changes})


def fit(root: Path, folder: str, *callbacks: Callback, num_steps: int = 4, **changes: Any) -> Any:
    module = TinyModule(folder)
    ckpt_path = changes.pop("ckpt_path", None)
    run = trainer(root, *callbacks, **changes)
    run.fit(module, datamodule=TinyData(folder, num_steps), ckpt_path=ckpt_path)
    return run, module


def stages(root: Path, mode: str = "think") -> list[tuple[str, int]]:
    return [(r.stage, r.step) for r in read_results(root).results if r.mode == mode]


def test_stages_files_and_logged_metrics(tmp_path: Path, folder: str) -> None:
    logger = MemoryLogger()
    run, _ = fit(
        tmp_path,
        folder,
        evaluation(every_n_steps=2, benchmarks=[Sums(), Sums("more", 1)]),
        logger=logger,
        accumulate_grad_batches=3,
        log_every_n_steps=30,
    )
    assert stages(tmp_path) == [
        *(("before", 0), ("before", 0), ("step-2", 2), ("step-2", 2), ("after", 4), ("after", 4))
    ]
    assert logger.steps_of("eval/sums/think/accuracy") == [0, 2, 4]
    assert logger.steps_of("eval/more/no_think/truncated") == [0, 2, 4]
    metrics = logger.rows[-1][1]
    names = {name.removeprefix("eval/sums/think/") for name in metrics if "sums/think" in name}
    assert names == {
        *("accuracy", "accuracy_stderr", "obedience", "think_share", "mean_response_tokens"),
        *("answered", "unparsed", "truncated", "looped", "ungraded"),
    }
    assert "eval/more/think/accuracy_stderr" not in metrics  # one problem has no standard error
    assert metrics["eval/sums/think/think_share"] == 1.0
    samples = read_samples(samples_path(tmp_path, "after", "sums", "think"))
    assert [sample.problem_id for sample in samples] == ["0", "1", "2"]
    assert all(sample.response.startswith("<think>") for sample in samples)
    assert all(sample.prompt.endswith("<think>") for sample in samples)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["baselines"]["sums"] == {"majority": pytest.approx(1 / 3)}
    assert content["settings"]["after"]["sums"]["max_new_tokens"] == 3
    assert (tmp_path / "mode_matrix.png").stat().st_size > 10_000
    assert "eval/sums/think/accuracy" in run.callback_metrics


def test_each_of_two_callbacks_keeps_its_settings(tmp_path: Path, folder: str) -> None:
    long = evaluation(before=False, repeats={"sums": 2}, temperature=0.5)
    short = evaluation(before=False, benchmarks=[Sums("more")], max_new_tokens=2, max_problems=1)
    fit(tmp_path, folder, long, short, num_steps=4)
    asked = read_results(tmp_path).settings["after"]
    names = ("max_new_tokens", "max_problems", "repeats", "temperature")
    assert [asked["sums"][name] for name in names] == [3, None, 2, 0.5]
    assert [asked["more"][name] for name in names] == [2, 1, 1, 0.0]


@pytest.mark.parametrize("before", [True, False])
def test_the_batch_size_that_fits_is_remembered(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """From the rehearsal or the first evaluation on; the memory has room for two rows."""
    tried: list[int] = []
    decode = running.decode_refilling

    def with_little_memory(model: Any, work: Any, batch_size: int) -> None:
        tried.append(batch_size)
        if batch_size > 2:
            raise torch.OutOfMemoryError
        decode(model, work, batch_size)

    monkeypatch.setattr(running, "decode_refilling", with_little_memory)
    fit(tmp_path, folder, evaluation(before=before, every_n_steps=2, batch_size=8, reuse=False))
    assert tried[:3] == [8, 4, 2]
    assert len(tried) == (2 + 6 if before else 2 + 1 + 4)  # two modes at each stage
    assert set(tried[3:]) == {2}


def test_a_checkpoint_can_monitor_the_accuracy(tmp_path: Path, folder: str) -> None:
    checkpoint = ModelCheckpoint(
        tmp_path / "best",
        monitor="eval/sums/think/mean_response_tokens",
        mode="max",
        every_n_train_steps=2,
        filename="{step}",
    )
    fit(tmp_path, folder, checkpoint, evaluation(every_n_steps=2, before=False))
    assert Path(checkpoint.best_model_path).name == "step=2.ckpt"
    assert checkpoint.best_model_score is not None


def test_training_does_not_notice(tmp_path: Path, folder: str) -> None:
    def run(*callbacks: Callback) -> TinyModule:
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        return fit(tmp_path, folder, *callbacks)[1]  # type: ignore[no-any-return]

    alone = run()
    after_alone = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    watched = run(
        evaluation(every_n_steps=1, modes=["adaptive"], temperature=0.8, top_p=0.9, repeats=2)
    )
    assert torch.equal(torch.get_rng_state(), after_alone[0])
    assert random.getstate() == after_alone[1]
    assert np.random.get_state()[1].tolist() == after_alone[2]
    assert len(stages(tmp_path, "adaptive")) == 5
    pairs = zip(alone.parameters(), watched.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    states = zip(alone.seen_states, watched.seen_states, strict=True)
    assert all(torch.equal(a, b) for a, b in states)


def checkpoints(root: Path) -> ModelCheckpoint:
    return ModelCheckpoint(root / "ckpt", every_n_train_steps=2, filename="{step}", save_top_k=-1)


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:You're resuming")
def test_a_resumed_run_keeps_before_and_renews_after(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, checkpoints(tmp_path), evaluation(), max_steps=2, num_steps=2)
    assert stages(tmp_path) == [("before", 0), ("after", 2)]
    path = samples_path(tmp_path, "before", "sums", "think")
    first = path.stat().st_mtime_ns
    logger = MemoryLogger()
    fit(
        tmp_path,
        folder,
        checkpoints(tmp_path),
        evaluation(every_n_steps=2),
        logger=logger,
        ckpt_path=tmp_path / "ckpt" / "step=2.ckpt",
        accumulate_grad_batches=2,
    )
    assert stages(tmp_path) == [("before", 0), ("after", 4)]
    assert path.stat().st_mtime_ns == first
    assert logger.steps_of("eval/sums/think/accuracy") == [4]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_finished_run_is_not_evaluated_again(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, checkpoints(tmp_path), evaluation())
    logger = MemoryLogger()
    path = tmp_path / "ckpt" / "step=4.ckpt"
    again = checkpoints(tmp_path)
    fit(tmp_path, folder, again, evaluation(), logger=logger, ckpt_path=path)
    assert logger.steps_of("eval/sums/think/accuracy") == []
    assert stages(tmp_path) == [("before", 0), ("after", 4)]


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def test_a_run_that_stops_early_is_evaluated_at_its_end(tmp_path: Path, folder: str) -> None:
    logger = MemoryLogger()
    fit(tmp_path, folder, StopAt(3), evaluation(before=False), logger=logger)
    assert stages(tmp_path) == [("after", 3)]
    assert logger.steps_of("eval/sums/think/accuracy") == [3]
    assert (tmp_path / "mode_matrix.png").exists()


def test_the_trainers_limit_is_honoured(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, evaluation(before=False), max_steps=2, num_steps=100)
    assert stages(tmp_path) == [("after", 2)]


def test_the_plan_gives_the_last_step_without_a_limit(tmp_path: Path, folder: str) -> None:
    checkpoint = ModelCheckpoint(
        tmp_path / "best", monitor="eval/sums/think/think_share", every_n_train_steps=16
    )
    limits = {"max_steps": -1, "max_epochs": 1, "accumulate_grad_batches": 2}
    fit(tmp_path, folder, checkpoint, evaluation(before=False), num_steps=16, **limits)
    assert stages(tmp_path) == [("after", 16)]
    assert checkpoint.best_model_path  # so the metric was there in the last batch


def test_without_after_nothing_is_evaluated_at_the_end(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, evaluation(after=False, every_n_steps=3))
    assert stages(tmp_path) == [("before", 0), ("step-3", 3)]


def test_a_fresh_run_sets_earlier_results_aside(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, evaluation(every_n_steps=3))
    fit(tmp_path, folder, evaluation(before=False))
    assert stages(tmp_path) == [("after", 4)]
    assert not (tmp_path / "evaluation" / "step-3").exists()
    (earlier,) = tmp_path.glob("earlier-*")
    assert stages(earlier) == [("before", 0), ("step-3", 3), ("after", 4)]
    assert samples_path(earlier, "step-3", "sums", "think").exists()


def test_fast_dev_run_evaluates_nothing(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, evaluation(), fast_dev_run=2)
    assert list(tmp_path.iterdir()) == []


def test_trainer_test_returns_the_metrics_and_prints_no_table_of_its_own(
    tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(tmp_path, evaluation(), limit_test_batches=1)
    (metrics,) = run.test(TinyModule(folder), datamodule=TinyData(folder, 4))
    assert metrics["eval/sums/think/think_share"] == 1.0
    assert stages(tmp_path) == [("test", 0)]
    assert "eval/sums/no_think/accuracy" in metrics
    assert "eval/" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ["think", "deep"]}, "unknown mode 'deep'; allowed: no_think, adaptive, think"),
        ({"modes": ["think", "think"]}, "given 2 times"),
        ({"modes": []}, "modes is empty"),
        ({"benchmarks": []}, "benchmarks is empty"),
        ({"benchmarks": [Sums(), Sums()]}, "2 benchmarks are called 'sums'"),
        ({"benchmarks": [Sums("a/b")]}, "'a/b'"),
        ({"benchmarks": [Sums(count=0)]}, "'sums' has no problems"),
        ({"every_n_steps": 0}, "every_n_steps is 0; allowed: 1 and more, or null"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_problems": 0}, "max_problems is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_seconds": 0}, "max_seconds is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"repeats": 4}, "repeats is 4 at temperature 0"),
    ],
)
def test_mistakes_are_found_before_the_first_step(
    tmp_path: Path, folder: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match="^BenchmarkEvaluation: ") as error:
        fit(tmp_path, folder, evaluation(**changes))
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_equal_ids_are_a_mistake(tmp_path: Path, folder: str) -> None:
    class Twins(Sums):
        def problems(self) -> list[Problem]:
            return super().problems() * 2

    with pytest.raises(UserError, match="2 problems of benchmark 'sums' have the id '0'"):
        fit(tmp_path, folder, evaluation(benchmarks=[Twins()]))


def test_a_data_module_without_formatter_is_named(tmp_path: Path, folder: str) -> None:
    class Bare(LightningDataModule):
        def train_dataloader(self) -> Any:
            return TinyData(folder, 4).train_dataloader()

    with pytest.raises(UserError, match=r"the data module \(Bare\) has no 'formatter'"):
        trainer(tmp_path, evaluation()).fit(TinyModule(folder), datamodule=Bare())


def test_sigterm_ends_an_evaluation(tmp_path: Path, folder: str) -> None:
    class Told(Callback):
        def on_train_start(self, trainer: Trainer, *args: Any) -> None:
            trainer._signal_connector.received_sigterm = True

    with pytest.raises(SIGTERMException):
        fit(tmp_path, folder, Told(), evaluation())
    assert stages(tmp_path) == []


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_an_evaluation_that_broke_off_is_done_again(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, checkpoints(tmp_path), evaluation())
    content = read_results(tmp_path)
    content.results = [r for r in content.results if (r.stage, r.mode) != ("after", "think")]
    write_results(tmp_path, content)
    path = tmp_path / "ckpt" / "step=4.ckpt"
    fit(tmp_path, folder, checkpoints(tmp_path), evaluation(), ckpt_path=path)
    assert stages(tmp_path) == [("before", 0), ("after", 4)]


@pytest.mark.parametrize(
    ("changes", "rehearsed"),
    [({"before": False}, True), ({}, False), ({"before": False, "after": False}, False)],
)
def test_the_longest_prompts_are_tried_before_the_first_step(
    tmp_path: Path,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    rehearsed: bool,
) -> None:
    """The evaluation before training is a rehearsal itself."""
    tried: list[int] = []
    monkeypatch.setattr(StudentEngine, "rehearse", lambda self, prompts: tried.append(len(prompts)))
    run, module = fit(tmp_path, folder, evaluation(repeats=1, **changes))
    assert tried == ([2 * len(Sums().problems())] if rehearsed else [])
    assert len(module.seen_states) == 4


def test_a_rehearsal_that_fails_costs_no_step(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("11 GiB")

    monkeypatch.setattr("nt_lightning.evaluation.generation.finish", no_memory)
    module = TinyModule(folder)
    with pytest.raises(UserError, match="out of memory at batch size 1 of the longest prompts"):
        trainer(tmp_path, evaluation(before=False)).fit(module, datamodule=TinyData(folder, 4))
    assert module.seen_states == []


def test_two_evaluations_of_one_run_keep_each_others_results(tmp_path: Path, folder: str) -> None:
    fit(tmp_path, folder, evaluation(), evaluation(benchmarks=[Sums("more")], before=False))
    found = {(r.stage, r.benchmark) for r in read_results(tmp_path).results}
    assert found == {("before", "sums"), ("after", "sums"), ("after", "more")}


def test_two_evaluations_of_one_benchmark_are_a_mistake(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UserError, match="2 benchmarks are called 'sums'"):
        fit(tmp_path, folder, evaluation(), evaluation())
