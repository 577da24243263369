"""The mask certificate: every tokenised trace is trained on its response, and on nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from nt_lightning import __version__
from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.data.mask_checks import CHECKS, Examiner, Flags, rows_of
from nt_lightning.data.plan import Ints
from nt_lightning.data.prepare import EXAMPLE_COLUMNS, OnLong, load_tokenised
from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from nt_lightning.traces.pool import Pool, take_rows

CERTIFICATE = "mask_certificate.json"
_SHOWN_IDS = 10
_AT_A_TIME = 512


@dataclass
class _Count:
    """Traces that fail a check, and the first of them."""

    failed: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, failed: Flags, ids: Sequence[str]) -> None:
        self.failed += int(failed.sum())
        room = _SHOWN_IDS - len(self.ids)
        self.ids += [ids[row] for row in failed.nonzero()[0][:room]]


def certify(
    pool: Pool,
    folder: Path,
    formatter: PromptFormatter,
    info: dict[str, Any],
    *,
    max_tokens: int,
    on_long: OnLong,
) -> dict[str, Any]:
    """Check every trace of ``train.arrow`` and ``val.arrow`` against the pool's texts.

    Args:
        pool: Where the traces come from.
        folder: Holds the tokenised traces.
        formatter: Renders the prompts of inference.
        info: What was noted about the traces when they were written.
        max_tokens: Longest trace.
        on_long: Under ``cut`` a trace of ``max_tokens`` may end without stop token and answer.

    Returns:
        Plain JSON: ``passed``, the data's ``digest``, for each split traces, tokens, labels and
        how many were cut; for each of ``CHECKS`` the traces that fail, the first ids of them and
        what holds for the others; versions.
    """
    examiner = Examiner(formatter, ThinkModes.from_dict(info["modes"]), max_tokens, on_long)
    counts = {name: _Count() for name in CHECKS}
    splits = {}
    for path in sorted(folder.glob("*.arrow")):
        splits[path.stem] = split = _certify_split(pool, path, examiner, counts)
        if on_long == "cut":  # one more is a trace that lost its stop token in another way
            cut = int(info["lost"][path.stem]["answers"])
            counts["stop"].failed += abs(split["cut"] - cut)
    return {
        "passed": not any(count.failed for count in counts.values()),
        "digest": info["digest"],
        "splits": splits,
        "checks": {
            name: {"failed": count.failed, "ids": count.ids, "holds": CHECKS[name]}
            for name, count in counts.items()
        },
        "stop_token": formatter.tokenizer.convert_ids_to_tokens(formatter.stop_token_id),
        "versions": {
            "nt_lightning": __version__,
            **{name: version(name) for name in ("tokenizers", "transformers")},
        },
    }


def read_certificate(folder: Path) -> dict[str, Any]:
    """The certificate beside tokenised traces."""
    return json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def refuse_uncertified(folder: Path) -> None:
    """Raise UserError where the certificate beside tokenised traces says that some are wrong."""
    certificate = read_certificate(folder)
    if not certificate["passed"]:
        raise UserError(
            f"the traces in {folder} are not fit to train on: {failures(certificate)}. "
            f"{CERTIFICATE} there holds the counts; the chat template, the think modes or the "
            "pool's texts are the place to look"
        )


def copy_certificate(folder: Path, run: Path) -> None:
    """Put the certificate of tokenised traces into a run's folder."""
    with replacing_file(run / CERTIFICATE) as partial:
        shutil.copyfile(folder / CERTIFICATE, partial)


def failures(certificate: dict[str, Any]) -> str:
    """What fails in a certificate, in a line: check, number, first ids."""
    total = sum(split["traces"] for split in certificate["splits"].values())
    said = [
        f"{name}: not of {check['failed']} of {total} traces ({', '.join(check['ids'])}"
        f"{', ...' if check['failed'] > len(check['ids']) else ''}) it holds that {check['holds']}"
        for name, check in certificate["checks"].items()
        if check["failed"]
    ]
    return "; ".join(said)


def _certify_split(
    pool: Pool, path: Path, examiner: Examiner, counts: dict[str, _Count]
) -> dict[str, int]:
    """Add one file's failures to ``counts``; its traces, tokens, labels and cut traces."""
    table = load_tokenised(path).data.table
    known = pc.index_in(table["id"], value_set=pool.read(["id"])["id"].combine_chunks())
    rows = known.fill_null(-1).to_numpy().astype(np.int64)
    order = np.argsort(rows, kind="stable")
    is_new = np.diff(rows[order], prepend=-1) > 0
    counts["trace"].add(~is_new, table["id"].take(pa.array(order)).to_pylist())
    order = order[is_new]
    total = {"traces": table.num_rows, "tokens": 0, "labels": 0, "cut": 0}
    with tqdm(total=len(order), desc="checking masks", delay=3, disable=None) as bar:
        for part, texts in _texts(pool, rows[order]):
            place = np.argsort(order[part])
            texts = [texts[row] for row in place]
            found = rows_of(take_rows(table, order[part][place]), texts)
            ids = [text["id"] for text in texts]
            for name, failed in examiner.examine(found).items():
                counts[name].add(failed, ids)
            total["tokens"] += len(found.ids)
            total["labels"] += int((found.labels != IGNORE_INDEX).sum())
            total["cut"] += int(examiner.is_cut(found).sum())
            bar.update(len(texts))
    return total


def _texts(pool: Pool, rows: Ints) -> Iterator[tuple[slice, list[dict[str, Any]]]]:
    """Texts of pool rows, ascending, a few at a time, and their place in ``rows``."""
    for first, table in pool.shards(EXAMPLE_COLUMNS):
        begin, end = np.searchsorted(rows, [first, first + table.num_rows])
        for start in range(begin, end, _AT_A_TIME):
            part = slice(start, min(start + _AT_A_TIME, end))
            yield part, take_rows(table, rows[part] - first).to_pylist()
