"""Every recipe is read and instantiated, recursively, as it stands."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningCLI

from nt_lightning.cli import CLI, cli_arguments
from nt_lightning.data.assemble import open_pool, pick
from nt_lightning.data.vectors import DEFAULT_MODEL, PREFIX
from nt_lightning.errors import UserError
from nt_lightning.pool.annotators import DOMAINS, VOCABULARY
from nt_lightning.pool.commands import annotate_pool, generate_pool, judge_pool
from nt_lightning.pool.embed import embed_questions
from nt_lightning.traces.pool import write_pool
from tests.integration.command import ROOT
from tests.scored import add_scores

POOLS = ROOT / "recipes" / "pools"  # of commands that make pools, and not of a run
COMMANDS = {"generate": generate_pool, "annotate": annotate_pool, "judge": judge_pool}
OF_POOLS = (*COMMANDS, "generate_limo")
RECIPES = [path for path in sorted((ROOT / "recipes").rglob("*.yaml")) if path.parent != POOLS]
# fragments, and the recipe that they are added to with a second --config
FRAGMENTS = {"embedded": "mixed.yaml", "sizes": "llama3_1_8b/selections/random.yaml"}
FRAGMENTS["hardware"] = "mixed.yaml"
BY_SCORE = ("naturalness.yaml", "natural_teacher.yaml")  # they need scores
FRAGMENTS |= dict.fromkeys(BY_SCORE, "mixed.yaml")
STUDENTS = ("llama3_1_8b", "qwen2_5_7b")


class ReadRecipe(LightningCLI):
    """The command line without a command: everything is built and nothing runs."""

    add_arguments_to_parser = CLI.add_arguments_to_parser


def test_none_is_missing():
    assert len(RECIPES) == 65
    assert {path.stem for path in POOLS.iterdir()} == set(OF_POOLS)


@pytest.mark.parametrize("recipe", [*RECIPES, *POOLS.iterdir()], ids=lambda one: one.stem)
def test_no_key_stands_twice(recipe):
    """YAML's last one would win without a word."""
    found = yaml.compose(recipe.read_text())
    mappings = [found]
    while mappings:
        node = mappings.pop()
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(set(keys)) == len(keys), keys
            mappings += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            mappings += node.value


@pytest.mark.parametrize("name", OF_POOLS)
def test_recipe_of_a_pool(name):
    command = name.partition("_")[0]
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(COMMANDS[command], fail_untyped=True)
    recipe = POOLS / f"{name}.yaml"
    given = ["--config", str(recipe), "--pool", "in", "--output", "out"]
    made = parser.instantiate_classes(parser.parse_args(given))
    servers = {"generate": "teachers", "annotate": "annotator", "judge": "judge"}
    found = made[servers[command]]
    for server in found if command == "generate" else [found]:
        server.check(command)
    assert f"nt_lightning pool {command} --config recipes/pools/{name}.yaml" in recipe.read_text()


def test_the_vocabulary_of_the_recipe_is_the_default():
    prompts = yaml.safe_load((POOLS / "annotate.yaml").read_text())["prompts"]
    assert prompts == {"domains": list(DOMAINS), "vocabulary": VOCABULARY}


@pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes"))
)
def test_recipe(recipe: Path, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nt_lightning"])
    configs = ["--config", str(recipe)]
    top = recipe.relative_to(ROOT / "recipes").parts[0]
    if top in FRAGMENTS:
        configs = ["--config", str(ROOT / "recipes" / FRAGMENTS[top]), *configs]
    arguments = [*configs, "--trainer.default_root_dir", str(tmp_path), "--trainer.accelerator=cpu"]
    arguments += ["--trainer.devices=1", "--trainer.num_nodes=1"]
    cli = ReadRecipe(**cli_arguments(), run=False, args=arguments)
    if top == "score":  # of the command `score`, which trains nothing
        assert type(cli.model).__name__ == "NaturalnessScorer"
        assert f"nt_lightning score --config recipes/score/{recipe.name}" in recipe.read_text()
        return
    if top == "evals":  # of the command `test`, without traces
        served = recipe.stem == "served"
        assert type(cli.model).__name__ == ("ServedStudent" if served else "EvaluatedStudent")
        assert cli.datamodule.model_name == cli.model.model_name
        assert f"nt_lightning test --config recipes/evals/{recipe.name}" in recipe.read_text()
        return
    assert type(cli.model).__name__ == "MaskedSFT"
    assert cli.datamodule.model_name == cli.model.model_name
    assert isinstance(cli.datamodule.pool_source, str) == (
        top in (*STUDENTS, "sizes", "llama3_3_70b")
    )
    names = {type(callback).__name__ for callback in cli.trainer.callbacks}
    assert {"RNGState", "RunSummary", "Throughput", "BenchmarkEvaluation"} <= names
    if recipe.parent == ROOT / "recipes" / "embedded" / "selections" or top in BY_SCORE:
        selects_on_the_embedded_pool(cli.datamodule, tmp_path, monkeypatch)
    header = recipe.read_text().splitlines()
    assert any("python -m nt_lightning" in line or "torchrun" in line for line in header[:8])


def selects_on_the_embedded_pool(data, tmp_path, monkeypatch):
    pool = open_pool(data.pool_source)
    if any(name.startswith(PREFIX) for name in data.selection_columns):
        embed(pool)
    if data.column_folders == ("scores-*",):
        with pytest.raises(UserError, match="has no scores; make them with"):
            pick(pool, data.wanted, data)
        values = np.random.default_rng(0).normal(size=len(pool))
        scored = add_scores(pool, {"lalp_4": values}, student=data.model_name)
    if type(data).__name__ == "NearestNeighbourSelection":
        monkeypatch.chdir(tmp_path)
        rows = pool.read().slice(0, 40)
        embed(write_pool(rows, data.neighbours_of, {}))
    picked = pick(pool, data.wanted, data)
    assert len(picked.chosen.train) == data.wanted.budget.num_traces
    if data.column_folders == ("scores-*",):
        shutil.rmtree(scored)  # other tests have the same pool


def embed(pool):
    embed_questions(pool, DEFAULT_MODEL, max_tokens=512, batch_size=64, accelerator="cpu")


@pytest.mark.parametrize("student", STUDENTS)
def test_the_selections_of_a_student_differ_under_data_alone(student):
    recipes = sorted((ROOT / "recipes" / student / "selections").iterdir())
    bodies = [yaml.safe_load(recipe.read_text()) for recipe in recipes]
    data = [body.pop("data") for body in bodies]
    assert len(bodies) == 12
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["trainer"]["max_epochs"] == 6
    common = {"pool", "num_traces", "num_val", "max_tokens", "tokens_per_step", "on_long"}
    shared = [{name: one["init_args"][name] for name in common} for one in data]
    assert all(one == shared[0] for one in shared)
    assert len({str(one) for one in data}) == 12


def test_the_students_have_the_same_rows():
    names = [
        sorted(p.name for p in (ROOT / "recipes" / s / "selections").iterdir()) for s in STUDENTS
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("name", "world"), [("cpu", 1), ("one_gpu", 1), ("fsdp2_8", 8), ("fsdp2_multinode", 24)]
)
def test_hardware_changes_the_trainer_alone(name, world):
    recipe = ROOT / "recipes" / "hardware" / f"{name}.yaml"
    body = yaml.safe_load(recipe.read_text())
    assert body.keys() == {"trainer"}
    keys = {"accelerator", "devices", "num_nodes", "strategy", "precision"}
    trainer = body["trainer"]
    assert trainer.keys() == keys
    assert trainer["devices"] * trainer["num_nodes"] == world
    assert trainer["strategy"] == ("fsdp2" if world > 1 else "auto")
    assert "--config recipes/hardware/" in recipe.read_text()


def test_the_70b_recipe_is_the_8b_one_of_another_student():
    bodies = [
        yaml.safe_load((ROOT / "recipes" / name).read_text())
        for name in ("llama3_1_8b/selections/random.yaml", "llama3_3_70b/random.yaml")
    ]
    students = [body["model"]["init_args"].pop("model_name") for body in bodies]
    assert students == ["meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"]
    assert bodies[0] == bodies[1]


def test_sizes_change_traces_and_the_epochs_of_the_paper():
    found = {}
    for recipe in (ROOT / "recipes" / "sizes").iterdir():
        body = yaml.safe_load(recipe.read_text())
        size = body["data"]["init_args"].pop("num_traces")
        found[size] = body["trainer"].pop("max_epochs")
        assert body == {"data": {"init_args": {}}, "trainer": {}}
    assert found == {1_000: 10, 10_000: 6, 100_000: 8, 500_000: 8}


def test_the_table_differs_in_its_mixing_alone():
    folder = ROOT / "recipes" / "llama3_1_8b" / "mixing"
    bodies = []
    for recipe in sorted(folder.iterdir()):
        lines = [line for line in recipe.read_text().splitlines() if not line.startswith("#")]
        bodies.append([line for line in lines if not line.lstrip().startswith("mixing:")])
    assert len(bodies) == 6
    assert all(body == bodies[0] for body in bodies)
