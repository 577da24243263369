"""Every recipe is read and instantiated, recursively, as it stands."""

from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningCLI

from nt_lightning.cli import CLI, cli_arguments
from nt_lightning.data.assemble import open_pool, pick
from tests.integration.command import ROOT

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
FRAGMENTS = {"embedded"}  # added to recipes/mixed.yaml with a second --config


class ReadRecipe(LightningCLI):
    """The command line without a command: everything is built and nothing runs."""

    add_arguments_to_parser = CLI.add_arguments_to_parser


def test_none_is_missing():
    assert len(RECIPES) == 20


@pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes"))
)
def test_recipe(recipe: Path, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nt_lightning"])
    configs = ["--config", str(recipe)]
    if recipe.relative_to(ROOT / "recipes").parts[0] in FRAGMENTS:
        configs = ["--config", str(ROOT / "recipes" / "mixed.yaml"), *configs]
    arguments = [*configs, "--trainer.default_root_dir", str(tmp_path), "--trainer.accelerator=cpu"]
    cli = ReadRecipe(**cli_arguments(), run=False, args=[*arguments, "--trainer.devices=1"])
    assert type(cli.model).__name__ == "MaskedSFT"
    assert cli.datamodule.model_name == cli.model.model_name
    pool = cli.datamodule.pool_source
    assert isinstance(pool, str) == (recipe.parts[-3] == "llama3_1_8b")  # a fragment keeps it
    names = {type(callback).__name__ for callback in cli.trainer.callbacks}
    assert {"RNGState", "RunSummary", "Throughput", "BenchmarkEvaluation"} <= names
    if recipe.parent.name == "selections":
        data = cli.datamodule
        pool = open_pool(pool)
        picked = pick(pool, data.wanted, data.select, data.selection_columns)
        assert len(picked.chosen.train) == data.wanted.budget.num_traces
    header = recipe.read_text().splitlines()
    assert any("python -m nt_lightning" in line or "torchrun" in line for line in header[:8])


def test_the_table_differs_in_its_mixing_alone():
    folder = ROOT / "recipes" / "llama3_1_8b" / "mixing"
    bodies = []
    for recipe in sorted(folder.iterdir()):
        lines = [line for line in recipe.read_text().splitlines() if not line.startswith("#")]
        bodies.append([line for line in lines if not line.lstrip().startswith("mixing:")])
    assert len(bodies) == 6
    assert all(body == bodies[0] for body in bodies)
