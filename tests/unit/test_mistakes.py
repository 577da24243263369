"""Names that a parser does not know, from jsonargparse's own messages."""

import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from nt_lightning.evaluation.benchmark import Benchmark
from nt_lightning.mistakes import no_value, own_classes, unknown_class, unknown_key

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sieve:
    """Keys of a group."""

    correct: bool = False
    loops: bool = False


class Base:
    """What a recipe names."""

    def __init__(self, pool: str = "", sieve: Sieve = Sieve()) -> None:
        pass


class Level(Base):
    """Passes arguments on."""

    def __init__(self, *, level: str = "", **rest) -> None:
        super().__init__(**rest)


class Parts(Base):
    """Has parts."""

    def __init__(self, *, parts: list[Base], **rest) -> None:
        super().__init__(**rest)


class Refused(Exception):
    """A parser's own message."""


class Parser(ArgumentParser):
    """Raises where a command would end."""

    def error(self, message, ex=None):
        if not self.exit_on_error:  # jsonargparse probes the members of a union this way
            super().error(message, ex)
        raise Refused(message)


def parser():
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--data", type=Base | None)
    parser.add_argument("--trainer.max_steps", type=int)
    parser.add_argument("--trainer.max_epochs", type=int)
    parser.add_argument("--config", action="config")
    return parser


def message_of(arguments):
    with pytest.raises(Refused) as refused:
        parser().parse_args(arguments)
    return str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "keys", "allowed", "near"),
    [
        (["--data=Level", "--data.levl=a"], "data.levl", "level pool sieve", ["level"]),
        (
            ["--data=Level", "--data.sieve.corec=1"],
            "data.sieve.corec",
            "correct loops",
            ["correct"],
        ),
        (["--data=Level", "--data.sieve={loop: 1}"], "data.sieve.loop", "correct loops", ["loops"]),
        (
            ["--data=Parts", "--data.parts=[{class_path: Level, init_args: {levl: a}}]"],
            "data.parts.levl",
            "level pool sieve",
            ["level"],
        ),
        (["--data=Base", "--data.num=3"], "data.num", "pool sieve", []),
        (["--trainer.max_step=3"], "--trainer.max_step", "max_steps max_epochs", ["max_steps"]),
        (["--trainr.max_steps=3"], "--trainr", "data trainer", ["trainer"]),
    ],
)
def test_unknown_keys(arguments, keys, allowed, near):
    found = unknown_key(message_of(arguments), parser())
    assert ".".join(found.keys) == keys
    assert list(found.allowed) == allowed.split()
    assert found.near[:1] == near
    assert found.name == keys.rpartition(".")[2].removeprefix("--")


def test_a_wrong_value_is_no_unknown_name():
    message = message_of(["--trainer.max_steps=many"])
    assert unknown_key(message, parser()) is None
    assert unknown_class(message, lambda key: ["X"]) is None


def test_unknown_classes_and_commands():
    def names(key):
        return {"data": ["Level", "Parts"], "parts": ["Base"]}[key]

    found = unknown_class(message_of(["--data=Levl"]), names)
    assert (found.keys, found.name, found.near) == (("data",), "Levl", ["Level"])
    found = unknown_class(message_of(["--data=Parts", "--data.parts=[Bse]"]), names)
    assert (found.keys, found.name, found.near) == (("data", "parts"), "Bse", ["Base"])
    found = unknown_class(message_of(["--data=nt_lightning.places.Plce"]), names)
    assert (found.name, list(found.allowed)) == ("Plce", ["Place"])
    found = unknown_class("invalid choice: 'shw' (choose from 'show', 'embed')", names)
    assert (found.name, found.near) == ("shw", ["show"])


def test_classes_of_the_packages_that_users_edit_are_found_without_importing_them():
    script = (
        "import sys; from nt_lightning.mistakes import own_classes; "
        "print(*own_classes('benchmarks')); "
        "assert not {'evals', 'callbacks', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    for path in found:
        module, _, name = path.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), name), Benchmark)
    names = {path.rpartition(".")[2] for path in found}
    assert names >= {"FileBenchmark", "GPQADiamond", "Math500", "MMLUPro", "SuperGPQA", "GSM8K"}
    assert "callbacks.benchmark_evaluation.BenchmarkEvaluation" in own_classes("callbacks")
    assert own_classes("data") == []


@pytest.mark.parametrize("written", ["FileBenchmrk", "FileBenchmark", "evals.FileBenchmrk"])
def test_a_class_is_hinted_at_by_its_own_name(written):
    message = f"Expected a dot import path string: {written}"
    found = unknown_class(message, lambda key: own_classes("benchmarks"))
    assert found.near[0] == "evals.file_benchmark.FileBenchmark"


def test_an_option_without_a_value():
    def names(key):
        return {"data": ["Level"], "parts": ["Base", "Parts"]}.get(key, [])

    assert no_value("--data.num", names) == "--data.num has no value; give one"
    assert no_value("--data.help", names) == "--data.help CLASS says more; allowed:\nLevel"
    assert no_value("--data.parts.help", names).endswith("CLASS says more; allowed:\nBase, Parts")
    group = "--data.sieve.help: no help of its own; --data.help CLASS explains sieve, too"
    assert no_value("--data.sieve.help", names) == group
    assert no_value("--splitter.help", names) == "--splitter.help CLASS says more"
