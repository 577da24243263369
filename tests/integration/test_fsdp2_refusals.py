"""What does not go with fsdp2 says so in one line, before it trains."""

import json

import pytest

from tests.integration.command import nt, write_recipe

DIVIDED = ("--trainer.strategy", "FSDP2Strategy", "--trainer.strategy.tensor_parallel_size", "2")
CASES = {
    "8 bits": (
        ("--model.quantization", "8bit", "--model.lora.r", "4"),
        "model.quantization is '8bit' under fsdp2; allowed there: 4bit",
    ),
    "an optimizer of 8 bits": (
        ("--model.optimizer", "bitsandbytes.optim.AdamW8bit", "--model.optimizer.lr", "1e-3"),
        "AdamW8bit under fsdp2; allowed there: those whose state is sharded",
    ),
    "layers divided over more devices than there are": (
        DIVIDED,
        "trainer.strategy.tensor_parallel_size is 2; allowed: a divisor of the number of devices",
    ),
    "by its other name, on a CPU": (
        ("--trainer.strategy", "fsdp"),
        "The strategy `fsdp` requires a GPU accelerator",
    ),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("refusals"))


@pytest.mark.parametrize("case", CASES)
def test_fit(recipe, tmp_path, case):
    options, line = CASES[case]
    done = nt(
        *("fit", "--config", recipe, "--trainer.strategy", "fsdp2", *options),
        *("--trainer.default_root_dir", tmp_path),
        check=False,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert line in done.stderr.splitlines()[-1]
    assert not [*tmp_path.glob("tiny-*/checkpoints/*")]


def test_predict(recipe):
    done = nt("predict", "--config", recipe, "--trainer.strategy", "fsdp2", check=False)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "predict does not run on a student that is shared out" in done.stderr.splitlines()[-1]


def test_forecast_of_divided_layers(recipe):
    done = nt("forecast", "--config", recipe, *DIVIDED, check=False)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "tensor_parallel_size is 2; a forecast knows 1 alone" in done.stderr.splitlines()[-1]


def test_benchmark_of_divided_layers(recipe, tmp_path):
    """Before the first step, on both devices."""
    problems = tmp_path / "sums.jsonl"
    problems.write_text(json.dumps({"question": "What is 3 + 4?", "reference_answer": "7"}))
    benchmark = {
        "class_path": "evals.file_benchmark.FileBenchmark",
        "init_args": {"name": "sums", "path": str(problems), "kind": "number"},
    }
    callback = {
        "class_path": "callbacks.benchmark_evaluation.BenchmarkEvaluation",
        "init_args": {"benchmarks": [benchmark], "modes": ["think"], "max_new_tokens": 4},
    }
    done = nt(
        *("fit", "--config", recipe, *DIVIDED, "--trainer.devices", "2"),
        *("--trainer.callbacks+", json.dumps(callback), "--trainer.default_root_dir", tmp_path),
        check=False,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert "a benchmark does not run in training with tensor_parallel_size above 1" in done.stderr
    assert not [*tmp_path.glob("tiny-*/checkpoints/*")]
