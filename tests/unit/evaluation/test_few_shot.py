"""Benchmarks with examples: as many as asked for, told in the version, in a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.benchmark_data import HubTable
from nt_lightning.evaluation.few_shot import FewShotBenchmark
from nt_lightning.evaluation.table_rows import TableRow


class Sums(FewShotBenchmark):
    name = "sums"
    table = HubTable("owner/sums", split="test", revision="abc")
    columns = ("id",)
    max_shots = 2
    shots_origin = "a book"

    def problem(self, row: TableRow, repeat: int) -> Problem:
        raise NotImplementedError


def test_versions() -> None:
    versions = [Sums(num_shots=number).version for number in range(3)]
    assert versions == [
        "1 (owner/sums at abc)",
        "1 (owner/sums at abc), shots: 1 of a book",
        "1 (owner/sums at abc), shots: 2 of a book",
    ]
    assert (
        Sums(revision="main", num_shots=1).version == "1 (owner/sums at main), shots: 1 of a book"
    )


@pytest.mark.parametrize("num_shots", [-1, 3])
def test_the_range(num_shots: int) -> None:
    with pytest.raises(UserError, match=f"^Sums: num_shots is {num_shots}; allowed: 0 to 2$"):
        Sums(num_shots=num_shots)


def test_the_first_or_none() -> None:
    benchmark = Sums(num_shots=2)
    assert benchmark.first_shots(["a", "b", "c"], "sums") == ["a", "b"]
    with pytest.raises(UserError, match="^Sums: num_shots is 2, but a book has 1 of sums$"):
        benchmark.first_shots(["a"], "sums")


def test_in_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "benchmarks:\n"
        "  - {class_path: evals.gsm8k.GSM8K, init_args: {num_shots: 8}}\n"
        "  - class_path: evals.mmlu_pro.MMLUPro\n"
        "    init_args: {num_shots: 5, shots_path: val.jsonl}\n"
    )
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--benchmarks", type=list[Benchmark])
    made = parser.instantiate_classes(parser.parse_args(["--config", str(recipe)])).benchmarks
    assert [benchmark.version.rpartition("), ")[2] for benchmark in made] == [
        "shots: 8 of arXiv:2201.11903, table 20",
        "shots: 5 of val.jsonl",
    ]
