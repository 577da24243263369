"""What was removed from a pool and why: a line for each row, and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from nt_lightning.pool.overlap.listing import Listing

if TYPE_CHECKING:
    from nt_lightning.pool.decontaminate import Contamination

WIDTH = 110  # characters of a line of summary.txt


def write_report(found: Contamination, folder: Path) -> None:
    """Write ``report.jsonl``, ``not_searched.jsonl`` and ``summary.txt``.

    ``not_searched.jsonl`` has every question that says too little to be looked for by itself, and
    how it was compared: ``with its options``, in several notations; ``whole``, with whole questions
    of the pool alone; ``never``: it has no letter and no digit.
    """
    folder.mkdir()
    found.lines.write(folder / "report.jsonl")
    listed = Listing(folder)
    for entry in _not_searched(found):
        listed.add(entry)
    listed.write(folder / "not_searched.jsonl")
    with (folder / "summary.txt").open("w", encoding="utf-8") as out:
        print_summary(found, Console(file=out, width=WIDTH))


def print_summary(found: Contamination, console: Console) -> None:
    """Questions, quoted ones and removed rows of each benchmark."""
    table = Table(title="decontamination", title_justify="left", box=None)
    table.add_column("benchmark", overflow="fold")
    for name in ("questions", "quoted", "removed", "by question"):
        table.add_column(name, justify="right")
    for name in ("whole", "contained", "overlap"):
        table.add_column(name, justify="right")
    for number, one in enumerate(found.benchmarks):
        rules = found.by_rule[number]
        table.add_row(
            one.name,
            f"{len(one.ids):,}",
            f"{len(found.found[number]):,}",
            f"{found.rows[number]:,}",
            f"{found.by_question[number]:,}",
            *(f"{rules[rule]:,}" for rule in ("whole", "contained", "overlap")),
        )
    console.print(table)
    counts = Counter(found.not_searched.values())
    if counts:
        said = ", ".join(f"{count:,} {how}" for how, count in sorted(counts.items(), reverse=True))
        console.print(
            f"{counts.total():,} questions say too little to be looked for by themselves; they "
            f"were compared: {said} (not_searched.jsonl)"
        )


def _not_searched(found: Contamination) -> Iterator[dict[str, str]]:
    for (number, problem), how in found.not_searched.items():
        one = found.benchmarks[number]
        yield {
            "benchmark": one.name,
            "problem": one.ids[problem],
            "question": one.questions[problem],
            "compared": how,
        }
