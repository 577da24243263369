"""``python -m nt_lightning report RUN --other OTHER``: results, differences, and a page to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nt_lightning.errors import UserError
from nt_lightning.evaluation.comparison import Comparison, compare
from nt_lightning.evaluation.results import RESPONSES_FOLDER, read_results, read_samples
from nt_lightning.files import write_json
from nt_lightning.report.matrix import mode_matrix
from nt_lightning.report.samples_data import compared_stage
from nt_lightning.report.samples_page import write_samples_page

COMPARISON_FILE = "comparison.json"


def report(run: str, other: str | None = None, max_responses: int = 2000) -> None:
    """Show a run's results, compare them with another run's, and write its responses as a page.

    Args:
        run: Folder of a run; the page is its samples.html, which shows both runs side by side
            where there are two, and comparison.json holds the differences.
        other: Folder of another run over the same benchmarks: is it better by more than chance?
        max_responses: Most responses on the page, taken evenly over benchmarks, modes and outcomes.
    """
    first, second = Path(run), Path(other) if other is not None else None
    for folder in filter(None, (first, second)):
        if not (folder / RESPONSES_FOLDER).is_dir():
            raise UserError(f"{folder} holds no evaluation: it has no folder {RESPONSES_FOLDER}")
    console = Console()
    for folder in filter(None, (first, second)):
        content = read_results(folder)
        if content.results:
            console.print(f"{folder}", mode_matrix(content.results, content.baselines), sep="\n")
    if second is not None:
        found = dict(comparisons(first, second))
        if not found:
            raise UserError(f"{run} and {other} have no benchmark and mode in common")
        console.print(_table(found))
        console.print(f"differences are {second.name or second} - {first.name or first}")
        write_json(first / COMPARISON_FILE, _plain(found, second))
    page = write_samples_page(first, second, max_responses=max_responses)
    print(f"responses: {page}")


def comparisons(first: Path, second: Path) -> Iterator[tuple[tuple[str, str], Comparison]]:
    """Benchmark and mode, and the comparison of two runs in it, each at its last stage."""
    sides = [_by_benchmark(run) for run in (first, second)]
    for key in sorted(sides[0].keys() & sides[1].keys()):
        yield key, compare(read_samples(sides[0][key]), read_samples(sides[1][key]))


def _by_benchmark(run: Path) -> dict[tuple[str, str], Path]:
    """The files of a run's stage that is compared, by benchmark and mode."""
    paths = list((run / RESPONSES_FOLDER).glob("*/*.jsonl"))
    if not paths:
        raise UserError(f"{run} holds no responses ({RESPONSES_FOLDER}/<stage>/*.jsonl)")
    stage = compared_stage(path.parent.name for path in paths)
    found = {}
    for path in paths:
        if path.parent.name == stage:
            benchmark, _, mode = path.stem.rpartition("-")
            found[benchmark, mode] = path
    return found


def _table(found: dict[tuple[str, str], Comparison]) -> Table:
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


def _plain(found: dict[tuple[str, str], Comparison], second: Path) -> dict[str, object]:
    rows = [{"mode": mode, **vars(one)} for (_, mode), one in found.items()]
    return {"other": str(second), "comparisons": rows}
