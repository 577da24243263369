"""Scores of a pool's responses by a student: where they lie, and how they are written and read.

``scores.parquet`` has a row per trace in the pool's order, ``steps.parquet`` the same rows with a
list per score, one value a step. Log-probabilities are in nats.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nt_lightning.errors import UserError
from nt_lightning.files import digest, replacing_folder
from nt_lightning.models import folder_fingerprint
from nt_lightning.traces.column_folders import read_info, verified_info, write_info
from nt_lightning.traces.pool import Pool

SCORES, STEPS = "scores.parquet", "steps.parquet"
FOLDERS = "scores-*"
MOST_SHOWN = 60  # characters of a value in a list of scores
LOWER_IS_BETTER = frozenset({"rsr", "mean_surprisal", "mean_rank"})
RSR_PARTS = ("clipped_rank_sum", "surprisal_sum")
# columns of ``scores.parquet`` that are no score: what a response is, and parts of scores
NOT_SCORES = ("id", "teacher", "scored_steps", "step_first_logprob", "unscored_reason", *RSR_PARTS)


class Ratio(NamedTuple):
    """A score of each response as a ratio: that of many responses is the ratio of the sums.

    Args:
        numerator: [N]; higher is better.
        denominator: [N]; ones, where the score of many is the mean.
    """

    numerator: npt.NDArray[np.float64]
    denominator: npt.NDArray[np.float64]


class Scores(NamedTuple):
    """Scores of all traces of a pool.

    Args:
        table: ``id``, ``teacher``, the scores and what they are made of, [N] in the pool's order.
        info: What ``info.json`` holds: student, fingerprint of its weights, splitter, windows.
        folder: Where they lie.
    """

    table: pa.Table
    info: dict[str, Any]
    folder: Path

    @property
    def names(self) -> list[str]:
        """The scores: ``galp``, ``lalp_0`` and so on."""
        return [name for name in self.table.column_names if name not in NOT_SCORES]

    def better(self, name: str) -> npt.NDArray[np.float64]:
        """A score that is higher where it is better, [N]; NaN where a response has none.

        ``length`` counts as better where it is longer, ``ifd`` as arXiv:2308.12032 has it: the
        highest that is not above 1, so that those above have none.

        Raises:
            UserError: There is no such score.
        """
        if name not in self.names:
            has = ", ".join(self.names)
            raise UserError(f"score {name!r} is not in {self.folder}; it has: {has}")
        values = self.column(name)
        if name == "ifd":
            values = np.where(values > 1, np.nan, values)
        return -values if name in LOWER_IS_BETTER else values

    def ratio(self, name: str) -> Ratio:
        """``better(name)`` as a ratio: of two sums for ``rsr`` (arXiv:2601.14249), else over ones.

        Both are NaN where a response has none.

        Raises:
            UserError: There is no such score, or its parts are missing.
        """
        better = self.better(name)
        if name != "rsr":
            return Ratio(better, np.where(np.isfinite(better), 1.0, np.nan))
        if missing := [part for part in RSR_PARTS if part not in self.table.column_names]:
            raise UserError(f"{self.folder} has 'rsr' without its part {missing[0]!r}; score again")
        ranks, surprisal = (self.column(part) for part in RSR_PARTS)
        known = np.isfinite(better)
        return Ratio(np.where(known, -ranks, np.nan), np.where(known, surprisal, np.nan))

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """A column of numbers as it is stored, [N]; NaN where it is null."""
        return pc.fill_null(self.table[name].cast(pa.float64()), np.nan).to_numpy()


def scores_folder(pool: str | Path, key: str) -> Path:
    """Folder of scores in a pool's folder.

    Args:
        pool: Folder of the pool.
        key: Hex digest of all that the scores depend on.
    """
    return Path(pool) / "columns" / f"scores-{key}"


def score_command(pool: str | Path, model_name: str | None = None) -> str:
    """The command that scores a pool with a student; ``None``: that of the recipe."""
    options = ["--data.pool", str(pool)]
    options += [] if model_name is None else ["--model.model_name", model_name]
    recipe = "recipes/score/local_naturalness.yaml"
    return f"python -m nt_lightning score --config {recipe} {shlex.join(options)}"


def same_student(one: str, other: str) -> bool:
    """Whether two names are one student's: the same Hub id, or the same folder."""
    return Path(one).resolve() == Path(other).resolve()


def same_weights(info: Mapping[str, Any], name: str) -> bool:
    """Whether a student's folder has the weights that gave scores, as far as it can be known.

    Args:
        info: That of the scores.
        name: The student's.
    """
    scored, there = info.get("model_fingerprint"), folder_fingerprint(name)
    return scored is None or there is None or scored == there


def find_scores(pool: Pool, folder: str | None = None, model_name: str | None = None) -> Scores:
    """The scores of exactly the traces of a pool.

    Args:
        pool: The pool.
        folder: Where they lie, whoever the student is; ``None``: in the pool, which then has
            one set of them by the student.
        model_name: The student; ``None``: any.

    Raises:
        UserError: There are none or several, they are another student's, of older weights or of
            other traces, or a byte is not what was written.
    """
    if folder is not None:
        return _of_pool(Path(folder), pool)
    infos = {path: read_info(path) for path in sorted(pool.folder.glob(f"columns/{FOLDERS}"))}
    there = {path: info for path, info in infos.items() if info["pool_digest"] == pool.digest}
    command = score_command(pool.folder, model_name)
    if not there:
        raise UserError(f"{pool.folder} has no scores; make them with\n{command}")
    own = {
        path: info
        for path, info in there.items()
        if model_name is None or same_student(info["model_name"], model_name)
    }
    if not own:
        raise UserError(
            f"{pool.folder} has no scores by {model_name!r}, the student (data.model_name); make "
            f"them with\n{command}\nor name another student's with --data.scores FOLDER:\n"
            f"{_listed(there)}"
        )
    if model_name is not None:
        older = own
        own = {path: info for path, info in own.items() if same_weights(info, model_name)}
        if not own:
            raise UserError(
                f"the scores of {pool.folder} are from before the weights of {model_name!r} "
                f"changed; make new ones with\n{command}\nor name one with --data.scores FOLDER:\n"
                f"{_listed(older)}"
            )
    if len(own) > 1:
        raise UserError(
            f"{pool.folder} has several scores; name one with --data.scores FOLDER:\n{_listed(own)}"
        )
    return _of_pool(next(iter(own)), pool)


def open_scores(folder: Path) -> Scores:
    """Scores in a folder, every byte verified.

    Raises:
        UserError: A file is missing, or a byte is not what was written.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} holds no scores: there is no such folder")
    info = verified_info(folder)
    return Scores(pq.read_table(folder / SCORES), info, folder)


def read_steps(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """Scores of each step, lists of [p], a row per trace in the pool's order.

    Args:
        folder: That of the scores.
        columns: ``id``, ``step_starts`` (characters of the scored text), ``step_tokens``,
            ``galp``, ``lalp_0`` and so on; ``None``: all.
    """
    return pq.read_table(folder / STEPS, columns=columns)


def step_parts(folder: Path, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Scores of each step in the parts in which they were written, one at a time in memory.

    Args:
        folder: That of the scores.
        columns: As ``read_steps`` has them.

    Yields:
        Row of a part's first trace in the pool, and the part.
    """
    first = 0
    with pq.ParquetFile(folder / STEPS) as file:
        for number in range(file.num_row_groups):
            part = file.read_row_group(number, columns=columns)
            yield first, part
            first += len(part)


def write_scores(
    folder: Path, scores: pa.Table, steps: Iterable[pa.Table], info: Mapping[str, Any]
) -> None:
    """Write scores, whole or not at all.

    Args:
        folder: Where they go; older ones there are replaced.
        scores: Rows of ``scores.parquet`` in the pool's order.
        steps: Rows of ``steps.parquet`` in the same order, in parts: one at a time is in memory.
        info: At least ``model_name`` and ``pool_digest``, as plain JSON.
    """
    with replacing_folder(folder) as partial:
        pq.write_table(scores, partial / SCORES, compression="zstd")
        writer: pq.ParquetWriter | None = None
        try:
            for part in steps:
                writer = writer or pq.ParquetWriter(
                    partial / STEPS, part.schema, compression="zstd"
                )
                writer.write_table(part)
        finally:
            if writer is not None:
                writer.close()
        write_info(partial, (SCORES, STEPS), info)


def _listed(infos: Mapping[Path, Mapping[str, Any]]) -> str:
    """Folders with their students, what else tells them apart, and when they were made."""
    told = {
        key
        for key in set().union(*infos.values()) - {"model_name", "created", "checksum", "sha256"}
        if len({digest(info.get(key)) for info in infos.values()}) > 1
    }
    lines = []
    for path, info in infos.items():
        parts = [info["model_name"], *(f"{key} {_short(info.get(key))}" for key in sorted(told))]
        lines.append(f"{path} ({', '.join([*parts, info['created'][:19]])})")
    return "\n".join(lines)


def _short(value: Any) -> str:
    """A value of ``info.json`` on a line: of a splitter its class and arguments."""
    if isinstance(value, Mapping):
        value = {name: one for name, one in value.items() if name != "sources"}
        return " ".join(f"{name}={_short(one)}" for name, one in value.items())
    text = str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _of_pool(folder: Path, pool: Pool) -> Scores:
    found = open_scores(folder)
    if found.info["pool_digest"] != pool.digest:
        raise UserError(f"{folder} has scores of other traces than those of {pool.folder}")
    if not found.table["id"].equals(pool.read(["id"])["id"]):  # each row is one of the pool's
        raise UserError(f"{folder} has its rows in another order than {pool.folder}")
    return found
