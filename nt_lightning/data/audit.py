"""What a selection took and what it left, in numbers: ``selection.json`` of every run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nt_lightning.data.assemble import Picked, Wanted
from nt_lightning.data.lists import distinct_pairs
from nt_lightning.data.plan import Ints
from nt_lightning.files import replacing_file, write_json
from nt_lightning.traces.pool import Pool, take_rows

AUDIT, SELECTED = "selection.json", "selected.parquet"
COUNTED = ("domain", "reasoning_strategies", "verbosity", "models_agree", "correct", "teacher")
MEASURED = ("response_tokens", "num_steps")
NUM_BINS = 24
MOST_COMMON = 40
Pair = dict[str, Any]


def write_audit(pool: Pool, wanted: Wanted, picked: Picked, about: Pair, folder: Path) -> Pair:
    """Write ``selection.json`` and ``selected.parquet`` (id and reason of each training trace).

    Args:
        pool: Where the candidates are.
        wanted: What was wanted of it.
        picked: What was picked.
        about: Name and arguments of the selection.
        folder: Where the two files go.

    Returns:
        What stands in ``selection.json``.
    """
    train = picked.chosen.train
    ids = take_rows(pool.read(["id"]), picked.rows[train])["id"]
    audit = {**about, **_counts(pool, wanted, picked), "ids_sha256": ids_digest(ids)}
    audit["reasons"] = _reasons(picked)
    audit |= _before_and_after(pool, picked.rows, train)
    audit["details"] = _with_questions(pool, picked.chosen.details)
    codes = picked.chosen.reasons.codes[train].astype(np.int32)
    reasons = pa.DictionaryArray.from_arrays(pa.array(codes), picked.chosen.reasons.names)
    with replacing_file(folder / SELECTED) as partial:
        pq.write_table(pa.table({"id": ids, "reason": reasons}), partial, compression="zstd")
    write_json(folder / AUDIT, audit)
    return audit


def ids_digest(ids: pa.ChunkedArray) -> str:
    """Hex SHA-256 of the ids, sorted, one a line: the same set, the same digest."""
    return hashlib.sha256("\n".join(sorted(ids.to_pylist())).encode()).hexdigest()


def _counts(pool: Pool, wanted: Wanted, picked: Picked) -> Pair:
    """The arguments, and how many traces are left at each step from the pool to the selection."""
    filters = asdict(wanted.filters)
    return {
        "seed": wanted.seed,
        "budget": asdict(wanted.budget),
        "filters": {k: v for k, v in filters.items() if v is not None and v is not False},
        "teachers": None if wanted.teachers is None else list(wanted.teachers),
        "pool": {"digest": pool.digest, "traces": len(pool)},
        "dropped": picked.dropped,
        "left_by_filters": len(pool) - sum(picked.dropped.values()),
        "candidates": len(picked.rows),
        "validation": len(picked.chosen.val),
        "selected": len(picked.chosen.train),
    }


def _reasons(picked: Picked) -> list[Pair]:
    """Candidates and taken ones by reason, most candidates first."""
    reasons = picked.chosen.reasons
    taken = reasons.counts(picked.chosen.train)
    counted = sorted(reasons.counts().items(), key=lambda pair: -pair[1])
    return [
        {"reason": name, "candidates": count, "selected": taken[name]}
        for name, count in counted
        if count
    ]


def _before_and_after(pool: Pool, rows: Ints, train: Ints) -> Pair:
    """Distributions over the candidates and over what was taken, column by column."""
    counts, lengths = {}, {}
    for name in (*COUNTED, *MEASURED):
        if name not in pool.column_names:
            continue
        before = take_rows(pool.read([name]), rows)
        columns = before[name], take_rows(before, train)[name]
        if name in MEASURED:
            lengths[name] = _histogram(*(column.drop_null() for column in columns))
        else:
            counts[name] = list(_shares(*map(_counts_of, columns)))
    return {"distributions": counts, "lengths": {name: h for name, h in lengths.items() if h}}


def _counts_of(column: pa.ChunkedArray) -> Counter[Any]:
    """Traces with each value; of lists, with the value in them."""
    counts = Counter[Any]()
    if pa.types.is_list(column.type):
        for found in distinct_pairs(column):
            number = np.bincount(found.codes, minlength=len(found.values)).tolist()
            counts.update(dict(zip(found.values, number, strict=True)))
    else:
        counts.update(
            {pair["values"]: pair["counts"] for pair in column.value_counts().to_pylist()}
        )
    return counts


def _shares(before: Counter[Any], after: Counter[Any]) -> Iterator[Pair]:
    """Counts before and after of each value, most common first, the rare ones as one."""
    common = before.most_common()
    for value, count in common[:MOST_COMMON]:
        yield {"value": value, "before": count, "after": after[value]}
    if rest := common[MOST_COMMON:]:
        others = sum(after[value] for value, _ in rest)
        total = sum(count for _, count in rest)
        yield {"value": f"{len(rest)} more values", "before": total, "after": others}


def _histogram(before: pa.ChunkedArray, after: pa.ChunkedArray) -> Pair | None:
    """Counts in bins of equal ratios, or of one each where there are few, and the usual marks."""
    one, two = (column.to_numpy().astype(np.float64) for column in (before, after))
    if not len(one) or not len(two):
        return None
    if one.max() - one.min() <= NUM_BINS:
        edges = np.arange(one.min() - 0.5, one.max() + 1)
    else:
        edges = np.geomspace(max(one.min(), 1), one.max() + 1, NUM_BINS + 1).round(1)
    histograms = [np.histogram(np.maximum(part, edges[0]), edges)[0] for part in (one, two)]
    marks = {
        name: [round(float(mark(part)), 1) for part in (one, two)]
        for name, mark in (("mean", np.mean), ("median", np.median), ("sum", np.sum))
    }
    before_after = dict(zip(("before", "after"), (h.tolist() for h in histograms), strict=True))
    return {"edges": edges.tolist(), **before_after, **marks}


def _with_questions(pool: Pool, details: Any) -> Any:
    """Details with the questions of the traces that they name under ``nearest_ids``."""
    named = list(_named_ids(details))
    if not named:
        return details
    wanted = pa.array(sorted(set(named)))
    questions: dict[str, str] = {}
    for _, table in pool.shards(["id", "question"]):
        found = table.filter(pc.is_in(table["id"], wanted))
        questions |= dict(zip(found["id"].to_pylist(), found["question"].to_pylist(), strict=True))
    return _filled_in(details, questions)


def _named_ids(details: Any) -> Iterator[str]:
    values = details.values() if isinstance(details, dict) else details
    if isinstance(details, dict):
        yield from details.get("nearest_ids", [])
    for value in values:
        if isinstance(value, dict | list):
            yield from _named_ids(value)


def _filled_in(details: Any, questions: dict[str, str]) -> Any:
    if isinstance(details, list):
        return [_filled_in(value, questions) for value in details]
    if not isinstance(details, dict):
        return details
    filled = {name: _filled_in(value, questions) for name, value in details.items()}
    if "nearest_ids" in details:
        filled["nearest_questions"] = [questions[name] for name in details["nearest_ids"]]
    return filled
