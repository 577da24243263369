"""What was removed from a pool and why: a line for each row, and a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from nt_lightning.pool.decontaminate import Contamination

WIDTH = 110  # characters of a line of summary.txt


def write_report(found: Contamination, folder: Path) -> None:
    """Write ``report.jsonl``, ``not_searched.jsonl`` and ``summary.txt``."""
    folder.mkdir()
    for name, lines in (("report", found.lines), ("not_searched", _not_searched(found))):
        text = "".join(f"{line}\n" for line in lines)
        # a lone surrogate of a benchmark's JSON goes out as it came in, as an escape
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8", errors="backslashreplace")
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
    if found.not_searched:
        console.print(
            f"{len(found.not_searched):,} questions that others of their benchmark contain "
            "were looked for with their options, or compared whole: not_searched.jsonl"
        )


def _not_searched(found: Contamination) -> list[str]:
    lines = []
    for number, problem in found.not_searched:
        one = found.benchmarks[number]
        entry = {
            "benchmark": one.name,
            "problem": one.ids[problem],
            "question": one.questions[problem],
        }
        lines.append(json.dumps(entry, ensure_ascii=False))
    return lines
