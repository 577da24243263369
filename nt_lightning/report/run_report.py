"""``python -m nt_lightning report RUN --other OTHER``: results, differences, and a page to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from nt_lightning.errors import UserError
from nt_lightning.evaluation.comparison import Comparison, compare
from nt_lightning.evaluation.results import (
    RESPONSES_FOLDER,
    RunResults,
    read_results,
    read_samples,
)
from nt_lightning.files import write_json
from nt_lightning.report.matrix import mode_matrix
from nt_lightning.report.samples_data import compared_stage
from nt_lightning.report.samples_page import write_samples_page

COMPARISON_FILE = "comparison.json"
_NO_MATTER = ("batch_size", "reuse", "student")  # no response depends on the first two
_OF_STUDENT = ("engine", "dtype", "extra_body")  # what of the student is how it was evaluated

Key = tuple[str, str]  # benchmark and mode


class Side(NamedTuple):
    """One of two evaluations that are compared.

    Args:
        run: Folder of its run.
        stage: Its stage.
        files: Its responses, by benchmark and mode.
        content: All results of the run.
    """

    run: Path
    stage: str
    files: dict[Key, Path]
    content: RunResults

    @property
    def name(self) -> str:
        """The run's folder and the stage."""
        return f"{self.run} ({self.stage})"

    def settings(self, benchmark: str) -> dict[str, Any]:
        """How a benchmark was asked; empty where that is not known."""
        known = self.content.settings_of(self.stage, benchmark)
        student = known.get("student") or {}
        told = {name: value for name, value in known.items() if name not in _NO_MATTER}
        return told | {f"student.{name}": student[name] for name in _OF_STUDENT if name in student}


def report(
    run: str,
    other: str | None = None,
    stage: str | None = None,
    other_stage: str | None = None,
    max_responses: int = 2000,
) -> None:
    """Show a run's results, compare them with another run's, and write its responses as a page.

    Args:
        run: Folder of a run; the page is its samples.html, which shows both runs side by side
            where there are two, and comparison.json holds the differences.
        other: Folder of another run over the same benchmarks: is it better by more than chance? It
            may be the same run at another stage.
        stage: Stage of the run that is compared: before, step-<n>, after or test; null is after,
            without it test, without both the last one.
        other_stage: The same of the other run.
        max_responses: Most responses on the page, taken evenly over benchmarks, modes and outcomes.
    """
    first, second = Path(run), Path(other) if other is not None else None
    if second is None and (stage or other_stage):
        given = f"--stage {stage}" if stage else f"--other_stage {other_stage}"
        raise UserError(
            f"{given} chooses what is compared, and there is no --other to compare with; needed: "
            f"--other and another run, or --other {run} and another stage of this one"
        )
    console = Console()
    for folder in dict.fromkeys(filter(None, (first, second))):
        _show_results(folder, console)
    if second is not None:
        sides = _side(first, stage), _side(second, other_stage)
        write_json(first / COMPARISON_FILE, _compared(*sides, console))
    stages = stage, other_stage
    page = write_samples_page(first, second, stages=stages, max_responses=max_responses)
    print(f"responses: {page}")


def differing(first: Side, second: Side) -> dict[str, tuple[Any, Any]]:
    """Settings and versions of common benchmarks in which two evaluations differ, with both values.

    The students' weights may differ, and what no response depends on. A setting in which all
    benchmarks differ alike stands once, any other as ``<setting> of <benchmark>``.
    """
    benchmarks = sorted({benchmark for benchmark, _ in _common(first, second)})
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for benchmark in benchmarks:
        left, right = first.settings(benchmark), second.settings(benchmark)
        for name in {**left, **right} if left and right else ():
            if left.get(name) != right.get(name):
                found.setdefault(name, {})[benchmark] = left.get(name), right.get(name)
    out = {}
    for name, pairs in found.items():
        values = list(pairs.values())
        if name != "version" and len(benchmarks) == values.count(values[0]):
            out[name] = values[0]
        else:
            out |= {f"{name} of {benchmark}": pair for benchmark, pair in pairs.items()}
    return out


def _show_results(folder: Path, console: Console) -> None:
    if not (folder / RESPONSES_FOLDER).is_dir():
        raise UserError(f"{folder} holds no evaluation: it has no folder {RESPONSES_FOLDER}")
    content = read_results(folder)
    if content.results:
        console.print(f"{folder}", mode_matrix(content.results, content.baselines), sep="\n")


def _side(run: Path, wanted: str | None) -> Side:
    paths = list((run / RESPONSES_FOLDER).glob("*/*.jsonl"))
    if not paths:
        raise UserError(f"{run} holds no responses ({RESPONSES_FOLDER}/<stage>/*.jsonl)")
    try:
        stage = compared_stage((path.parent.name for path in paths), wanted)
    except UserError as error:
        raise UserError(f"{run}: {error}") from None
    files = {}
    for path in paths:
        if path.parent.name == stage:
            benchmark, _, mode = path.stem.rpartition("-")
            files[benchmark, mode] = path
    return Side(run, stage, files, read_results(run))


def _common(first: Side, second: Side) -> list[Key]:
    return sorted(first.files.keys() & second.files.keys())


def _compared(first: Side, second: Side, console: Console) -> dict[str, Any]:
    """Print the differences and what stands against them; returns all of it as JSON."""
    if (first.run.resolve(), first.stage) == (second.run.resolve(), second.stage):
        raise UserError(f"{first.run} at {first.stage!r} is compared with itself; give other_stage")
    found = {
        key: compare(read_samples(first.files[key]), read_samples(second.files[key]))
        for key in _common(first, second)
    }
    if not found:
        raise UserError(f"{first.name} and {second.name} have no benchmark and mode in common")
    unlike = differing(first, second)
    alone = [sorted(side.files.keys() - found.keys()) for side in (first, second)]
    console.print(_table(found))
    lines = [f"differences are {second.name} - {first.name}"]
    for side, keys in zip((first, second), alone, strict=True):
        if keys:
            names = ", ".join(f"{benchmark} in {mode}" for benchmark, mode in keys)
            lines.append(f"warning: only in {side.name}: {names}")
    if unlike:
        values = "; ".join(f"{name} {left!r}, {right!r}" for name, (left, right) in unlike.items())
        lines.append(f"warning: they were not evaluated alike: {values}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return {
        "other": str(second.run),
        "stages": [first.stage, second.stage],
        "differing": unlike,
        "only_first": alone[0],
        "only_second": alone[1],
        "comparisons": [{"mode": mode, **vars(one)} for (_, mode), one in found.items()],
    }


def _table(found: dict[Key, Comparison]) -> Table:
    table = Table(
        "benchmark", "mode", "problems", "first", "second", "difference", "p", "McNemar p"
    )
    for (benchmark, mode), one in found.items():
        difference = f"{one.difference:+.1%}"
        if one.interval is not None:
            difference += f" [{one.interval.low:+.1%}, {one.interval.high:+.1%}]"
        values = [
            "-" if value is None else f"{value:.2g}" for value in (one.p_value, one.mcnemar_p)
        ]
        accuracies = f"{one.first_accuracy:.1%}", f"{one.second_accuracy:.1%}"
        alone = one.only_first + one.only_second
        count = f"{one.num_problems}" + (f" ({alone} in one only)" if alone else "")
        table.add_row(benchmark, mode, count, *accuracies, difference, *values)
    return table
