"""``test`` of what is not trained here: a folder, an exported folder, a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nt_lightning.evaluation.results import Sample, read_results, read_samples, samples_path
from tests.integration.command import nt, write_recipe

EVALUATION = """
seed_everything: 1
model:
  class_path: EvaluatedStudent
  init_args: {{model_name: {student}}}
data:
  class_path: Prompting
trainer:
  accelerator: cpu
  default_root_dir: {runs}
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: callbacks.benchmark_evaluation.BenchmarkEvaluation
      init_args:
        benchmarks:
          - class_path: evals.file_benchmark.FileBenchmark
            init_args: {{name: sums, path: {path}, id: id, kind: number}}
        modes: [no_think, think]
        max_new_tokens: 12
        temperature: 0.9
        repeats: 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny student, exported, and a recipe that evaluates."""
    root = tmp_path_factory.mktemp("evaluated")
    training = write_recipe(root)
    nt("fit", "--config", training)
    (ckpt,) = (root / "runs").glob("tiny-*/checkpoints/last.ckpt")
    (root / "last.ckpt").symlink_to(ckpt)
    nt("export", "--ckpt_path", ckpt, "--output", root / "exported", "--dtype", "float32")
    rows = [{"id": str(n), "question": f"{n} + 1?", "reference_answer": str(n)} for n in range(4)]
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = root / "evaluate.yaml"
    values = {"student": root / "student", "runs": root / "evals", "path": root / "sums.jsonl"}
    recipe.write_text(EVALUATION.format(**values))
    return root


def responses(folder: Path, name: str, *arguments: object) -> list[Sample]:
    runs = folder / "evals" / name
    config = ("--config", folder / "evaluate.yaml", "--trainer.default_root_dir", runs)
    nt("test", *config, *arguments)
    (run,) = runs.glob("evaluate-test-*")
    assert read_results(run).settings["test"]["sums"]["student"]["dtype"] == "float32"
    return [
        sample
        for mode in ("no_think", "think")
        for sample in read_samples(samples_path(run, "test", "sums", mode))
    ]


def test_a_checkpoint_and_its_export_answer_alike_in_their_own_modes(folder: Path) -> None:
    own = responses(folder, "checkpoint", "--ckpt_path", folder / "last.ckpt")
    exported = responses(folder, "exported", "--model.model_name", folder / "exported")
    assert exported == own
    assert len(own) == 16
    untrained = responses(folder, "untrained")
    assert [one.response for one in untrained] != [one.response for one in own]
    assert "Use about 3500 words" in untrained[-1].prompt
    assert "Use about 3500 words" not in own[-1].prompt


def test_the_second_time_nothing_is_generated(folder: Path) -> None:
    first = responses(folder, "once")
    cache = folder / "evals" / "again"
    done = nt("test", "--config", folder / "evaluate.yaml", "--trainer.default_root_dir", cache)
    assert "8 of 8 responses of this rank were there already" in done.stdout + done.stderr
    (run,) = cache.glob("evaluate-test-*")
    again = read_samples(samples_path(run, "test", "sums", "no_think"))
    assert again == first[:8]
