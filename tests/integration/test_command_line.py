"""Wrong command lines: at most five lines, the key, the file, the nearest name, exit code 2."""

import json
import logging
import subprocess
import sys
import time

import pytest
import yaml

from nt_lightning.__main__ import main
from nt_lightning.traces.pool import Pool
from tests.integration.command import ROOT, nt, write_recipe


@pytest.fixture(autouse=True)
def quiet_logging(monkeypatch):
    """Lightning's handler writes to the stream of the first test, which is closed in the next."""
    monkeypatch.setattr(logging, "raiseExceptions", False)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("command"))


def refused(capsys, *arguments):
    """Exit code 2 and a short message without a stack trace; returns the message."""
    assert main(["fit", *map(str, arguments)]) == 2
    message = capsys.readouterr().err
    lines = [line for line in message.splitlines() if not line.startswith("Seed set")]
    assert 1 <= len(lines) <= 5
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--trainer.max_step", "3"], ["trainer.max_step: ", "did you mean max_steps"]),
        (["--trainr.max_steps", "3"], ["trainr: ", "allowed: ", "did you mean trainer?"]),
        (["--data.num_trace", "3"], ["data.num_trace: ", "did you mean num_traces"]),
        (
            ["--data.filters.correkt", "true"],
            ["data.filters.correkt: ", "allowed: finish_reason, correct", "did you mean correct?"],
        ),
        (["--data.filters", "{loop: true}"], ["data.filters.loop: ", "did you mean loops?"]),
        (["--data.filters", "true"], ["data.filters: ", "Got value: true"]),
        (["--data.num_val.x", "3"], ["data.num_val: ", "int"]),
        (["--data.num_val"], ["--data.num_val has no value"]),
        (["--model.optimizer.lrr", "3"], ["model.optimizer.lrr: ", "of PaperAdamW; allowed: lr, "]),
        (["--model.lora.rank", "3"], ["model.lora.rank: ", "of LoRA; allowed: r, "]),
        (
            ["--data", "ChainSelection", "--data.selections", "[{class_path: RandmSelection}]"],
            ["data.selections: ", "allowed: RandomSelection, ", "did you mean RandomSelection"],
        ),
        (["--data", "RandmSelection"], ["RandmSelection", "did you mean RandomSelection"]),
        (["--model", "MaskdSFT"], ["MaskdSFT", "did you mean MaskedSFT"]),
        (["--data.num_traces", "abc"], ["data.num_traces", "int", "abc"]),
        (["--data.mixing.system2", "hard"], ["data.mixing.system2", "'difficulty'", "hard"]),
        (["--trainer.precision", "bf17"], ["trainer.precision", "'bf16-mixed'"]),
        (["--config", "recipes/mixd.yaml"], ["recipes/mixd.yaml", "not exist"]),
        (["--data.pool", "no/such/pool"], ["no/such/pool is no pool"]),
        (["--ckpt_path", "no.ckpt"], ["no.ckpt", "no such checkpoint"]),
        (["--ckpt_path", "last"], ["last", "last.ckpt"]),
        (["--data.max_tokens", "1"], ["data.max_tokens is 1"]),
        (["--data.tokens_per_step", "7"], ["data.tokens_per_step is 7", "256"]),
        (["--data.on_long", "split"], ["data.on_long", "'cut'", "split"]),
        (["--data.teachers", "[nobody]"], ["'nobody'", "short, long"]),
        (
            ["--data.num_traces", "62"],
            ["data.num_traces is 62; allowed: at most 60 (4 of 64 questions are kept for val"],
        ),
        (["--data.max_tokens", "40"], ["max_tokens is 40", "on_long"]),
        (["--trainer.accumulate_grad_batches", "3"], ["accumulate_grad_batches is 3", "plan"]),
        (["--model.responses.mode", "deep"], ["'deep'", "no_think, adaptive, think"]),
        (["--trainer.precision", "bf16-true"], ["'bf16-true'", "bf16-mixed"]),
        (["--model.quantization", "4bit"], ["model.quantization", "lora"]),
        (
            ["--model.model_name", "no/such"],
            ["'no/such' cannot be loaded", "smollm2-135m-instruct"],
        ),
    ],
)
def test_bad_arguments(capsys, recipe, arguments, parts):
    message = refused(capsys, "--config", recipe, *arguments)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("num_val", "num_vall", ["'num_vall'", "edited.yaml:8", "did you mean num_val"]),
        ("Throughput", "Througput", ["Througput", "edited.yaml", "did you mean Throughput"]),
        ("MaskedSFT", "MaskedSTF", ["MaskedSTF", "edited.yaml:4", "did you mean MaskedSFT"]),
        ("tokens_per_step", "token_per_step", ["token_per_step", "did you mean tokens_per_step"]),
        ("num_val: 4", "filters: {correkt: true}", ["data.filters.correkt: ", "edited.yaml:8"]),
        (
            "every_n_train_steps",
            "every_n_train_step",
            ["trainer.callbacks.3.every_n_train_step: ", "edited.yaml:21", "_train_steps?"],
        ),
        ("init_args: {every", "init_arg: {every", ["callbacks.3.init_arg: ", "edited.yaml:21"]),
        ("init_args: {pool", "filter: {pool", ["data.filter: ", "edited.yaml:8"]),
        ("{every_n_train_steps: 3}", "{every_n_train_steps: [", ["edited.yaml:22"]),
    ],
)
def test_bad_recipes_name_file_and_line(capsys, recipe, tmp_path, old, new, parts):
    edited = tmp_path / "edited.yaml"
    edited.write_text(recipe.read_text().replace(old, new))
    message = refused(capsys, "--config", edited)
    for part in parts:
        assert part in message


PART = """
data:
  class_path: ChainSelection
  init_args:
    selections:
      - {{class_path: VerbositySelection, init_args: {{level: high}}}}
      - {0}
"""


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        (
            "{class_path: RandomSelection, init_args: {filters: {correkt: true}}}",
            ["data.selections.1.filters.correkt: ", "allowed: finish_", "did you mean correct?"],
        ),
        (
            "{class_path: RandomSelection, init_args: {level: low}}",
            ["data.selections.1.level: no such key of RandomSelection; allowed: pool, "],
        ),
        ("RandmSelection", ["data.selections.1: no such class", "did you mean RandomSelection"]),
        ("{class_path: RandomSelection, seed: 3}", ["data.selections.1.seed: ", "init_args"]),
        ("{clas_path: RandomSelection}", ["selections.1.clas_path: ", "did you mean class_path?"]),
    ],
)
def test_mistakes_in_parts_name_the_part(capsys, recipe, tmp_path, part, parts):
    chain = tmp_path / "chain.yaml"
    chain.write_text(PART.format(part))
    message = refused(capsys, "--config", recipe, "--config", chain)
    for said in [*parts, "chain.yaml:7"]:
        assert said in message


def test_unknown_command(capsys):
    assert main(["fti"]) == 2
    assert "did you mean fit?" in capsys.readouterr().err


def test_a_stack_trace_on_request(capsys, recipe, monkeypatch):
    monkeypatch.setenv("NT_DEBUG", "1")
    with pytest.raises(ValueError, match="is no pool"):
        main(["fit", "--config", str(recipe), "--data.pool", "no/such/pool"])


def test_help_explains_every_argument():
    shown = nt("fit", "--data.help", "RandomSelection").stdout
    for name in ("num_traces", "mixing.system2", "tokens_per_step", "on_long", "teachers"):
        (about,) = [part for part in shown.split("  --data.") if part.startswith(f"{name} ")]
        assert len(about.split()) > 6, about


def test_help_asks_of_the_class_that_is_given(capsys):
    asked = nt("select", "--data", "TopicSelection", "--data.help").stdout
    assert asked == nt("select", "--data.help", "TopicSelection").stdout
    assert asked.startswith("usage: python -m nt_lightning [--data.pool POOL]")
    assert "allowed: RandomSelection, " in " ".join(refused(capsys, "--data.help").split())


def test_usage_is_what_is_typed():
    assert nt("select", "--help").stdout.startswith("usage: python -m nt_lightning ")
    assert nt("pool", "show", "--help").stdout.startswith("usage: python -m nt_lightning pool ")


def test_the_bare_command_answers_without_torch():
    code = "import sys; from nt_lightning.__main__ import main; main([])"
    code += "; print('torch' in sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False"
    assert time.perf_counter() - began < 1


def test_overrides_compose_and_the_saved_config_runs_again(recipe, tmp_path):
    small = tmp_path / "small.yaml"
    small.write_text("data: {init_args: {num_traces: 12}}\ntrainer: {max_steps: 2}\n")
    runs = ["--trainer.default_root_dir", tmp_path / "runs"]
    nt("fit", "--config", recipe, "--config", small, "--data.num_val", 3, *runs)
    (run,) = (tmp_path / "runs").iterdir()
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["data"]["init_args"]["num_traces"] == 12
    assert saved["data"]["init_args"]["num_val"] == 3
    assert saved["trainer"]["max_steps"] == 2
    assert {path.name for path in run.iterdir()} >= {
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "plan.json",
        "selected.parquet",
        "selection.json",
        "selection.png",
        "tensorboard",
    }
    audit = json.loads((run / "selection.json").read_text())
    assert (audit["selected"], audit["validation"], audit["candidates"]) == (12, 3, 64)
    nt("fit", "--config", run / "config.yaml")
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_print_config(recipe):
    printed = yaml.safe_load(nt("fit", "--config", recipe, "--print_config").stdout)
    assert printed["data"]["init_args"]["mixing"]["adaptive_share"] == 0.5
    assert printed["model"]["init_args"]["schedule"] == "constant"


def test_preview_and_validate(recipe, tmp_path):
    page = tmp_path / "page.html"
    shown = nt("preview", "--config", recipe, "--num_examples", 1, "--html", page).stdout
    assert "What is" in shown
    assert "tokens trained" in shown
    text = page.read_text()
    assert text.count('class="m"') > 10
    assert '<span class="t">' in text
    done = nt("validate", "--config", recipe)
    assert "val/loss" in done.stdout


def test_select_writes_a_pool_and_compares_it(recipe, tmp_path):
    """With one seed the smaller selection is in the larger one: 12 common traces of 40."""
    small, large = tmp_path / "small", tmp_path / "large"
    nt("select", "--config", recipe, "--data.num_traces", 12, "--output", small)
    done = nt("select", "--config", recipe, "--output", large, "--compare", f"[{small}]")
    assert f"{large}: 40 traces" in done.stdout
    audit = json.loads((large / "selection" / "selection.json").read_text())
    assert (audit["selection"], audit["seed"]) == ("RandomSelection", 0)
    assert (audit["selected"], audit["validation"], audit["candidates"]) == (40, 4, 64)
    assert audit["reasons"] == [
        {"reason": "by chance", "candidates": 60, "selected": 40},
        {"reason": "kept for validation", "candidates": 4, "selected": 0},
    ]
    assert audit["overlap"] == {
        "names": ["large", "small"],
        "sizes": [40, 12],
        "shared": [[40, 12], [12, 12]],
        "jaccard": [[1.0, 0.3], [0.3, 1.0]],
    }
    nt("select", "--overwrite", "--config", recipe, "--data.num_traces", 12, "--output", small)
    ids = [set(Pool(folder).read(["id"])["id"].to_pylist()) for folder in (small, large)]
    assert [len(one) for one in ids] == [12, 40]
    assert ids[0] < ids[1]


def test_a_switch_needs_no_value(recipe, tmp_path):
    """Every command's ``--overwrite`` is one; a value may follow, at any place."""
    export = ["pool", "export", "--pool", str(recipe.parent / "pool")]
    output = ["--output", str(tmp_path / "traces.jsonl")]
    assert main([*export, *output]) == 0
    assert main([*export, *output]) == 2
    assert main([*export, *output, "--overwrite", "false"]) == 2
    assert main([*export, *output, "--overwrite"]) == 0
    assert main([*export, "--overwrite", *output]) == 0
    assert main([*export, "--overwrite", "true", *output]) == 0


def test_predict_writes_a_response_to_every_question(recipe, tmp_path):
    quick = ["--model.responses.max_new_tokens", 6, "--model.responses.mode", "no_think"]
    nt("predict", "--config", recipe, "--trainer.default_root_dir", tmp_path, *quick)
    (path,) = tmp_path.glob("tiny-predict-*/responses.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"sum-{i:03d}" for i in range(64)]
    for row in rows:
        assert "Answer directly without thinking" in row["prompt"]
        assert row["question"] in row["prompt"]
        assert 1 <= row["response_tokens"] <= 6
        assert row["finish_reason"] in ("stop", "length")
