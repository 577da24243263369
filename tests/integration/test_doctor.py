"""``doctor`` on the command line, and the mask certificate of a run."""

import json

import pytest
import yaml

from tests.integration.command import nt, write_recipe

CHECKS = [
    "masks",
    "plan counts",
    "resume order",
    "attention",
    "packed = single",
    "fused loss",
    "accumulation",
    "world size",
    "export",
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("doctor"))


@pytest.fixture(scope="module")
def fitted(recipe, tmp_path_factory):
    """A run of one step."""
    runs = tmp_path_factory.mktemp("fitted")
    nt("fit", "--config", recipe, "--trainer.max_steps", 1, "--trainer.default_root_dir", runs)
    (run,) = runs.iterdir()
    return run


def changed(recipe, folder, part, class_path):
    """The recipe with another class in one part."""
    content = yaml.safe_load(recipe.read_text())
    content[part]["class_path"] = class_path
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_sound_recipe(fitted, tmp_path):
    """The config that a run has kept is examined as the recipe itself."""
    runs = ["--trainer.default_root_dir", tmp_path]
    done = nt("doctor", "--config", fitted / "config.yaml", *runs)
    lines = [line for line in done.stdout.splitlines() if line.startswith("pass")]
    assert len(lines) == len(CHECKS)
    for line, name in zip(lines, CHECKS, strict=True):
        assert line.removeprefix("pass").strip().startswith(name)
    (run,) = tmp_path.iterdir()
    assert [path.name for path in run.iterdir()] == ["doctor.json"]
    kept = json.loads((run / "doctor.json").read_text())
    assert [check["name"] for check in kept["checks"]] == CHECKS
    assert all(check["value"] <= check["allowed"] for check in kept["checks"])
    assert str(run / "doctor.json") in done.stdout


def test_a_recipe_with_a_mistake(recipe, tmp_path):
    broken = changed(recipe, tmp_path, "model", "tests.unit.doctor.recipes.MeanOfMeans")
    runs = ["--trainer.default_root_dir", tmp_path / "runs"]
    done = nt("doctor", "--config", broken, *runs, check=False)
    assert done.returncode == 1, done.stderr[-2000:]
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")] == [
        "accumulation"
    ]
    assert "Traceback" not in done.stderr


def test_a_run_keeps_its_data_certificate(fitted):
    certificate = json.loads((fitted / "mask_certificate.json").read_text())
    plan = json.loads((fitted / "plan.json").read_text())
    assert certificate["passed"]
    assert certificate["digest"] == plan["digest"]
    assert certificate["splits"]["train"]["traces"] == plan["traces"]
    assert certificate["splits"]["train"]["labels"] == plan["labelled_tokens"]


def test_fit_refuses_traces_that_never_stop(recipe, tmp_path):
    broken = changed(recipe, tmp_path, "data", "tests.unit.doctor.recipes.NeverStops")
    runs = ["--trainer.default_root_dir", tmp_path / "runs"]
    done = nt("fit", "--config", broken, *runs, check=False)
    assert done.returncode == 2
    assert "are not fit to train on: stop: not of 44 of 44 traces (sum-0" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").rglob("*.ckpt"))
