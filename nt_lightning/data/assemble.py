"""From a pool to the tokenised traces of a run: chosen, mixed, rendered, written, noted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nt_lightning.data.budget import Budget
from nt_lightning.data.choose import Chosen, Responses, choose
from nt_lightning.data.filters import Filters
from nt_lightning.data.mixing import Mixing
from nt_lightning.data.plan import Ints
from nt_lightning.data.prepare import Assigned, OnLong, count_by_mode, num_words, tokenise
from nt_lightning.data.randomness import seed_of_part
from nt_lightning.data.selected import Selected
from nt_lightning.data.vectors import read_candidates, require
from nt_lightning.errors import UserError
from nt_lightning.files import cache_dir, digest, sha256_file
from nt_lightning.traces.column_folders import marks_of
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from nt_lightning.traces.pool import QUESTION_KEY, Pool, PoolMaker, pool_digest, write_pool

log = logging.getLogger(__name__)
SELECTIONS = "selections"  # in a pool's lineage: how many it has been through
_NO_POOL = "data.pool is not given; allowed: a pool's folder, or what makes one"


@dataclass(frozen=True)
class Wanted:
    """What a run wants of its pool; the arguments are ``TraceDataModule``'s."""

    budget: Budget
    filters: Filters
    num_val: int
    mixing: Mixing
    modes: ThinkModes
    teachers: tuple[str, ...] | None
    max_tokens: int
    on_long: OnLong
    seed: int

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            raise UserError(f"data.max_tokens is {self.max_tokens}; allowed: 2 and more")
        if self.on_long not in ("error", "drop", "cut"):
            raise UserError(f"data.on_long is {self.on_long!r}; allowed: error, drop, cut")
        if self.num_val < 0:
            raise UserError(f"data.num_val is {self.num_val}; allowed: 0 and more")


class Selection(Protocol):
    """What ``pick`` asks of a data module; ``TraceDataModule`` says what each of them is."""

    @property
    def selection_columns(self) -> tuple[str, ...]:
        """Columns of the candidates that ``select`` reads."""

    def require(self, pool: Pool) -> None:
        """Raise UserError where the pool lacks what ``responses`` reads."""

    def responses(self, pool: Pool, wanted: Wanted, left: Ints) -> Responses:
        """One response for each question among the rows that are left."""

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Choose among candidates."""


def open_pool(source: PoolMaker | str | None) -> Pool:
    """The pool of a folder, or the one that a maker makes, once, in the cache.

    Raises:
        UserError: There is none.
    """
    if source is None:
        raise UserError(_NO_POOL)
    if not isinstance(source, PoolMaker):
        return Pool(source)
    folder = _made_folder(source)
    if folder.is_dir():
        return Pool(folder)
    log.info("making the pool with %s", type(source).__name__)
    return write_pool(source.make(), folder, source.lineage())


def cache_folder(
    source: PoolMaker | str | None,
    wanted: Wanted,
    selection: Sequence[Any],
    column_folders: Sequence[str],
    formatter: PromptFormatter,
) -> Path:
    """Folder of the tokenised traces, named by everything that they depend on.

    Args:
        source: The pool.
        wanted: What is wanted of it.
        selection: What the selection depends on, as plain JSON.
        column_folders: Which of the pool's folders of columns it reads, as patterns.
        formatter: Renders and tokenises.
    """
    if source is None:
        raise UserError(_NO_POOL)
    if isinstance(source, PoolMaker):
        pool, folder = source.fingerprint(), _made_folder(source)
    else:
        pool, folder = pool_digest(source), Path(source)
    marks = [mark for pattern in column_folders for mark in marks_of(folder, pattern)]
    key: list[Any] = [
        _code_digest(),
        pool,
        asdict(wanted),
        list(selection),
        formatter.fingerprint(),
    ]
    key += [marks] if marks else []
    return cache_dir() / "data" / digest(key)[:32]


class Picked(NamedTuple):
    """Which traces of a pool a run takes, and how they are asked.

    Args:
        rows: Pool rows of the candidates, one trace per question, ascending.
        dropped: Traces that the filters dropped, by reason.
        chosen: Which of the candidates.
        codes: Think mode of every candidate.
    """

    rows: Ints
    dropped: dict[str, int]
    chosen: Chosen
    codes: npt.NDArray[np.int8]


def pick(pool: Pool, wanted: Wanted, selection: Selection) -> Picked:
    """Filter, take one response for each question, choose and mix.

    No text is read but by a filter that needs it.

    Raises:
        UserError: The pool is too small or lacks a column.
    """
    require(pool, [*selection.selection_columns, *wanted.budget.columns])
    selection.require(pool)  # before anything takes time
    left = wanted.filters.apply(pool)
    rows, known, details = selection.responses(pool, wanted, left.rows)
    # a column that mixing needs and the pool lacks: mixing says so, and how to get it
    mixed = [name for name in wanted.mixing.columns if name in pool.column_names]
    read = ["id", QUESTION_KEY, *selection.selection_columns, *wanted.budget.columns, *mixed]
    candidates = read_candidates(pool, list(dict.fromkeys(read)), rows)
    if known is not None:
        for name in known.column_names:
            candidates = candidates.append_column(name, known[name])
    seed = seed_of_choice(pool, wanted)
    chosen = choose(candidates, selection.select, wanted.budget, num_val=wanted.num_val, seed=seed)
    if details is not None:
        chosen = chosen._replace(details={**chosen.details, **details(rows[chosen.train])})
    codes = wanted.mixing.mode_codes(candidates, wanted.seed)
    return Picked(rows, left.dropped, chosen, codes)


def seed_of_choice(pool: Pool, wanted: Wanted) -> int:
    """Seed of the validation split and of the selection.

    What a select command has chosen by a seed has no luck left for another draw by it.
    """
    depth = pool.manifest["lineage"].get(SELECTIONS, 0)
    return seed_of_part(wanted.seed, depth) if depth else wanted.seed


def filled_modes(pool: Pool, wanted: Wanted, picked: Picked) -> ThinkModes:
    """The think modes with the mean length of the training set's System-2 traces for ``{K}``.

    It is the mean of all traces where none is System-2, so that a System-1 student can be asked
    to think, too (our choice).
    """
    train = picked.chosen.train
    system2 = train[picked.codes[train] > 0]
    counted = picked.rows[system2 if len(system2) else train]
    return wanted.modes.with_num_words(num_words(pool, counted))


def assemble(
    pool: Pool, wanted: Wanted, picked: Picked, formatter: PromptFormatter, folder: Path
) -> dict[str, Any]:
    """Write ``train.arrow`` and ``val.arrow`` into ``folder``.

    Returns:
        What a run has to know about them, as plain JSON.

    Raises:
        UserError: The pool holds a trace that is too long.
    """
    rows, _, chosen, codes = picked
    modes = filled_modes(pool, wanted, picked)
    parts = {"train": chosen.train, "val": chosen.val}
    lost = {
        name: tokenise(
            pool,
            Assigned(rows[part], codes[part]),
            formatter,
            modes,
            max_tokens=wanted.max_tokens,
            on_long=wanted.on_long,
            path=folder / f"{name}.arrow",
        )
        for name, part in parts.items()
        if len(part)
    }
    return {
        "digest": digest({name: sha256_file(folder / f"{name}.arrow") for name in lost}),
        "pool": {"digest": pool.digest, "num_rows": len(pool), "num_questions": len(rows)},
        "modes": modes.to_dict(),
        "teachers": pool.read(["teacher"])["teacher"].take(pa.array(rows)).unique().to_pylist(),
        "examples": {name: count_by_mode(codes[part]) for name, part in parts.items()},
        "lost": {name: asdict(losses) for name, losses in lost.items()},
    }


def _made_folder(source: PoolMaker) -> Path:
    return cache_dir() / "pools" / source.fingerprint()[:32]


@cache
def _code_digest() -> str:
    """Digest of the code that makes tokenised traces: an edit of it makes older caches stale."""
    package = Path(__file__).parent.parent
    files = sorted([*package.glob("data/*.py"), *package.glob("traces/*.py")])
    return digest([sha256_file(file) for file in files])
