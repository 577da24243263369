"""A pool in five tables: manifest, lineage, columns, counts, lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
from rich.table import Table

from nt_lightning.traces.pool import QUESTION_KEY, Pool
from nt_lightning.traces.record import COLUMNS

COUNTED = (
    "teacher",
    "second_teacher",
    "domain",
    "source",
    "models_agree",
    "agreed_by",
    "correct",
    "verified_by",
    "finish_reason",
    "verbosity",
)
NUMBERS = ("traces", "questions", "share", "filled", "mean")  # headers of their columns
MOST_COMMON = 8
QUANTILES = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)


def tables(pool: Pool) -> Iterator[Table]:
    """What ``pool show`` prints; reads one shard at a time."""
    yield _manifest(pool)
    yield _lineage(pool)
    yield _columns(pool)
    yield _counts(pool)
    yield _lengths(pool)


def _manifest(pool: Pool) -> Table:
    values: dict[str, Any] = {
        "folder": pool.folder,
        pool.kind: len(pool),
        "different questions": pool.manifest["num_questions"],
        "shards": len(pool.manifest["shards"]),
        "digest": pool.digest[:16],
        "made with": f"nt_lightning {pool.manifest['nt_lightning']}",
    }
    table = _table("pool", "", "")
    for name, value in values.items():
        table.add_row(name, str(value))
    return table


def _lineage(pool: Pool) -> Table:
    """What made the pool, and what made the pool that it was made of, back to the first."""
    table = _table("lineage", "", "")
    lineage: dict[str, Any] | None = pool.manifest["lineage"]
    while lineage:
        for name, value in lineage.items():
            if name != "from":
                table.add_row(name, str(value))
        source = lineage.get("from") or {}
        if source:
            table.add_row("from", f"{source['num_rows']} rows of {source['pool']}")
        lineage = source.get("lineage")
        table.add_row("", "")
    return table


def _columns(pool: Pool) -> Table:
    """Type, nulls and meaning of each column."""
    nulls: Counter[str] = Counter()
    types: dict[str, str] = {}
    for _, part in pool.shards():
        for name in part.column_names:
            nulls[name] += part[name].null_count
            types[name] = str(part[name].type)
    table = _table("columns", "column", "type", "filled", "about")
    for name in pool.column_names:
        about = COLUMNS[name].about if name in COLUMNS else "not of the record; kept as it is"
        about = "digest of the question" if name == QUESTION_KEY else about
        table.add_row(name, types[name], _percent(len(pool) - nulls[name], len(pool)), about)
    return table


def _counts(pool: Pool) -> Table:
    """How often each value of the counted columns stands there, the most common ones."""
    names = [name for name in COUNTED if name in pool.column_names]
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for _, part in pool.shards(names):
        for name in names:
            for pair in part[name].value_counts().to_pylist():
                counts[name][_shown(pair["values"])] += pair["counts"]
    table = _table("counts", "column", "value", pool.kind, "share")
    for name, counted in counts.items():
        common = counted.most_common(MOST_COMMON)
        for value, count in common:
            table.add_row(name, value, str(count), _percent(count, len(pool)))
            name = ""
        if rest := len(counted) - len(common):
            count = counted.total() - sum(count for _, count in common)
            table.add_row("", f"{rest} more values", str(count), _percent(count, len(pool)))
    return table


def _lengths(pool: Pool) -> Table:
    """Quantiles of words, and of tokens and steps where the pool has them."""
    numbers = [name for name in ("response_tokens", "num_steps") if name in pool.column_names]
    found: dict[str, list[Any]] = {}
    texts = [name for name in ("question", "reasoning", "answer") if name in pool.column_names]
    for _, part in pool.shards([*texts, *numbers]):
        for name in texts:
            words = pc.count_substring_regex(part[name], r"\S+")
            found.setdefault(f"words of {name}", []).append(words.to_numpy())
        for number in numbers:
            found.setdefault(number, []).append(part[number].drop_null().to_numpy())
    table = _table("lengths", "", "mean", *(f"{quantile:.0%}" for quantile in QUANTILES))
    for row, parts in found.items():
        values = np.concatenate(parts)
        if len(values):
            marks = [values.mean(), *np.quantile(values, QUANTILES)]
            table.add_row(row, *(f"{mark:.0f}" for mark in marks))
    return table


def _table(title: str, *headers: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=any(headers), box=None)
    for header in headers:
        is_number = header in NUMBERS or header.endswith("%")
        table.add_column(header, justify="right" if is_number else "left", overflow="fold")
    return table


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}"


def _shown(value: Any) -> str:
    if value is None:
        return "(null)"
    return str(value).lower() if isinstance(value, bool) else str(value)
