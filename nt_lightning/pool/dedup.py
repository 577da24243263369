"""Questions that are nearly the same as an earlier one are left out, and each is listed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.overlap.listing import Listing
from nt_lightning.pool.overlap.near_duplicates import (
    Pairs,
    Sketches,
    choose_bands,
    jaccard,
    sets_of_runs,
)
from nt_lightning.pool.overlap.words import text_blocks
from nt_lightning.pool.questions import Rows, first_rows, rows_of_shards
from nt_lightning.pool.repeats import Repeats
from nt_lightning.traces.pool import QUESTION_KEY, Pool

FOLDER = "dedup"
LISTED = "removed.jsonl"
NEAR, REPEATED = "near-duplicate", "question of an earlier row"  # reasons
COLUMNS = ["id", "question", QUESTION_KEY]  # of removed rows and of those that stay for them
ROWS_AT_A_TIME = 2000  # sets of words take much more than their texts


class Link(NamedTuple):
    """Two questions, by number in pool order, and their Jaccard similarity."""

    one: int
    other: int
    similarity: float


class Duplicate(NamedTuple):
    """A question that goes.

    Args:
        question: Its number among the pool's questions.
        kept: The first question of its cluster, which stays.
        linked: The question of the cluster that brought it in, nearer to the first by a step.
        similarity: Jaccard similarity to ``linked``, at least the threshold.
    """

    question: int
    kept: int
    linked: int
    similarity: float


class Deduplicated(NamedTuple):
    """What was written and left out."""

    pool: Pool
    questions_in: int
    questions_removed: int


def dedup(pool: Pool, output: Path, threshold: float, ngram: int) -> Deduplicated:
    """Write a pool without near-duplicates of its questions; of each cluster the first stays.

    In a pool of questions, further rows of one question go too; traces of one are none of it.
    Clusters are the connected components of "at least so similar". All traces of a question stay
    or go with it. The result depends on the questions and their order alone.

    Args:
        pool: Questions or traces.
        output: Folder of the new pool; ``dedup/removed.jsonl`` in it lists what was removed.
        threshold: Jaccard similarity in (0, 1] of the sets of word runs.
        ngram: Words in a run.

    Raises:
        UserError: A setting is out of its range.

    Source: word-level MinHash LSH at 0.55, NaturalReasoning (arXiv:2502.13124); it does not say how
    many words are in a run, and two are our choice.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"threshold is {threshold}; allowed: above 0, at most 1")
    if ngram < 1:
        raise UserError(f"ngram is {ngram}; allowed: 1 or more words")
    firsts = first_rows(pool)
    found = find_duplicates(_links(pool, firsts, threshold, ngram))
    gone = _Gone(pool, firsts, found, ngram, output.parent)
    settings = {
        "command": "pool dedup",
        "threshold": threshold,
        "ngram": ngram,
        "bands": choose_bands(threshold)._asdict(),
        "rensa": version("rensa"),
    }

    def counted() -> dict[str, Any]:
        return {
            "dropped": dict(+gone.counts),
            "questions_in": len(firsts),
            "questions_removed": len(found),
            "clusters": len({one.kept for one in found}),
        }

    rows = (gone.leave_out(start, table) for start, table in pool.shards())
    kind = pool.kind
    written = write_derived(pool, rows, output, settings, counted, kind=kind, extras=gone.write)
    return Deduplicated(written, len(firsts), len(found))


def find_duplicates(links: Sequence[Link]) -> list[Duplicate]:
    """Every question of a cluster but its first, by number; each is reached by the fewest links."""
    neighbours: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for one, other, similarity in links:
        neighbours[one].append((other, similarity))
        neighbours[other].append((one, similarity))
    found: dict[int, Duplicate] = {}
    kept: set[int] = set()
    for first in sorted(neighbours):
        if first in found:
            continue
        kept.add(first)
        reached = [first]
        for one in reached:  # grows on the way
            for other, similarity in sorted(neighbours[one]):
                if other not in found and other not in kept:
                    found[other] = Duplicate(other, first, one, similarity)
                    reached.append(other)
    return [found[number] for number in sorted(found)]


def _links(pool: Pool, firsts: Rows, threshold: float, ngram: int) -> list[Link]:
    """Pairs of questions that are similar by their words, not by hashes alone."""
    sketches = Sketches(ngram, choose_bands(threshold))
    with tqdm(total=len(firsts), desc="hashing", unit=" questions", delay=3, disable=None) as bar:
        for table in rows_of_shards(pool, firsts, ["question"]):
            for _, texts in text_blocks(table["question"]):
                sketches.add(texts)
                bar.update(len(texts))
    pairs = sketches.similar_pairs(threshold)
    numbers = np.unique(pairs)
    texts = [
        text
        for table in rows_of_shards(pool, firsts[numbers], ["question"])
        for text in table["question"].to_pylist()
    ]
    links = _read_again(np.searchsorted(numbers, pairs), texts, ngram)
    return [
        Link(int(numbers[link.one]), int(numbers[link.other]), link.similarity)
        for link in links
        if link.similarity >= threshold
    ]


def _read_again(pairs: Pairs, texts: Sequence[str], ngram: int) -> Iterator[Link]:
    """Pairs with the similarity of their words; sets are large, so few are there at a time."""
    for start in range(0, len(pairs), ROWS_AT_A_TIME):
        block = pairs[start : start + ROWS_AT_A_TIME]
        asked, places = np.unique(block, return_inverse=True)
        sets = sets_of_runs([texts[number] for number in asked.tolist()], ngram)
        sides = zip(block.tolist(), places.reshape(-1, 2).tolist(), strict=True)
        for (one, other), (here, there) in sides:
            yield Link(one, other, jaccard(sets[here], sets[there]))


class _Gone:
    """Questions that are left out, and a line of JSON for each of their rows.

    Args:
        pool: The pool.
        firsts: First row of each of its questions.
        found: Questions that go.
        ngram: Words in a run.
        folder: Where the lines wait.
    """

    def __init__(
        self, pool: Pool, firsts: Rows, found: Sequence[Duplicate], ngram: int, folder: Path
    ) -> None:
        kept = {one.kept for one in found}
        named = np.array(sorted(kept.union(*(one[:3] for one in found))), dtype=np.int64)
        numbers = iter(named.tolist())
        self._ids: dict[int, str] = {}
        self._texts: dict[int, str] = {}  # of questions that others go for
        keys: dict[int, str] = {}
        for table in rows_of_shards(pool, firsts[named], COLUMNS):
            for name, text, key in zip(*(table[one].to_pylist() for one in COLUMNS), strict=True):
                number = next(numbers)
                self._ids[number], keys[number] = name, key
                if number in kept:
                    self._texts[number] = text
        self._repeats = Repeats(pool, firsts)
        self.counts: Counter[str] = Counter()
        self._said = {keys[one.question]: one for one in found}
        self._keys = pa.array(self._said, pa.string())
        self._ngram = ngram
        self.lines = Listing(folder)

    def leave_out(self, start: int, table: pa.Table) -> pa.Table:
        """The rows that stay; the others are listed.

        Args:
            start: Number of the first row in the pool.
            table: Rows of the pool.
        """
        is_gone = pc.is_in(table[QUESTION_KEY], value_set=self._keys)
        removed = table.select(COLUMNS).filter(is_gone)
        for batch in removed.to_batches(max_chunksize=ROWS_AT_A_TIME):
            self._list(batch.to_pylist())
        self.counts[NEAR] += removed.num_rows
        stays = pc.invert(is_gone)
        for entry in self._repeats.listed(start, table.select(COLUMNS), stays):
            self.lines.add(entry)
            self.counts[REPEATED] += 1
        return table.filter(pc.and_(stays, self._repeats.is_first(start, table)))

    def write(self, folder: Path) -> None:
        """Write the list into a new pool's folder."""
        (folder / FOLDER).mkdir()
        self.lines.write(folder / FOLDER / LISTED)

    def _list(self, rows: Sequence[dict[str, Any]]) -> None:
        said = [self._said[row[QUESTION_KEY]] for row in rows]
        own = sets_of_runs([row["question"] for row in rows], self._ngram)
        kept = sets_of_runs([self._texts[one.kept] for one in said], self._ngram)
        for row, one, *sets in zip(rows, said, own, kept, strict=True):
            self.lines.add(self._entry(row, one, jaccard(*sets)))

    def _entry(self, row: dict[str, Any], one: Duplicate, similarity: float) -> dict[str, Any]:
        return {
            "id": row["id"],
            "question": row["question"],
            "kept_id": self._ids[one.kept],
            "kept_question": self._texts[one.kept],
            "similarity": round(similarity, 4),
            "linked_id": self._ids[one.linked],
            "linked_similarity": round(one.similarity, 4),
        }
