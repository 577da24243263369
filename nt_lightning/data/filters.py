"""What is left out before any selection, and how much of it there was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from nt_lightning.data.plan import Ints
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import Pool, take_rows
from nt_lightning.traces.repetition import is_looped

Mask = npt.NDArray[np.bool_]
# leftovers of other teachers' tags; the record itself refuses <think>
THINK_TAGS = (
    r"(?i)</?\s*(think|thinking|thought|reasoning|answer)\s*>|\[/?think\]"
    r"|<\|(begin|end)_of_(thought|solution)\|>|◁/?think▷"
)
WINDOW = 500  # characters whose language is looked at, at the start, in the middle, at the end
MIN_LETTERS = 30  # fewer are a formula rather than a language (our choice)
# Log-likelihood per letter by which another language has to be likelier: sentences have 1.5 and
# more, formulas and lists of names on English traces up to 0.3 (our choice).
MARGIN = 0.7
FORMULAS = re.compile(
    r"\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\[A-Za-z]+|```.*?(?:```|$)|`[^`]*`", re.DOTALL
)
NO_WORDS = re.compile(r"[^\w]+|[\d_]+")
NO_LANGUAGE = "zxx"  # so the identifier calls what has none


class Filtered(NamedTuple):
    """Pool rows that are left, ascending, and how many were dropped for which reason.

    A filter that dropped none is among the reasons, with 0.
    """

    rows: Ints
    dropped: dict[str, int]


class Rule(NamedTuple):
    """A filter that is switched on: its name, the columns it reads, and what it finds wrong.

    ``wrong`` yields a reason and the rows that it holds for; a later one counts only where no
    earlier one does. Where none holds for any row, the count of 0 stands under the name.
    """

    name: str
    columns: tuple[str, ...]
    wrong: Callable[[pa.Table], Iterator[tuple[str, Mask]]]


@dataclass(frozen=True)
class Filters:
    """Traces to leave out before the selection; all are off unless they are given.

    A trace is counted under the first reason that holds, in the order of the arguments. The last
    three read the texts: about a minute for 100,000 traces of 2,000 tokens.

    Args:
        finish_reason: Keep these, such as ``[stop]``; the paper drops responses that were cut off.
        correct: Keep only traces whose answer was verified; the paper does not.
        min_tokens: Shortest response, by ``response_tokens``.
        max_tokens: Longest response; the paper's is 16,384.
        languages: Keep traces whose reasoning is in these at its start, in its middle and at its
            end, as ISO 639 codes such as ``[en]``; formulas and code are in any.
        think_tags: Leave out traces with leftovers of think tags in the text.
        loops: Leave out traces whose reasoning or answer ends by repeating itself.

    Raises:
        UserError: A language is unknown, or the lengths exclude each other.
    """

    finish_reason: tuple[str, ...] | str | None = None
    correct: bool = False
    min_tokens: int | None = None
    max_tokens: int | None = None
    languages: tuple[str, ...] | str | None = None
    think_tags: bool = False
    loops: bool = False

    def __post_init__(self) -> None:
        for name in ("finish_reason", "languages"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,))
        if (self.min_tokens or 0) > (self.max_tokens or np.inf):
            raise UserError(
                f"filters.min_tokens is {self.min_tokens}; allowed: up to max_tokens "
                f"({self.max_tokens})"
            )
        if self.languages is not None:
            known = set(_languages().labels)
            for name in self.languages:
                if name not in known:
                    raise UserError(
                        f"filters.languages has {name!r}; allowed: {', '.join(sorted(known))}"
                    )

    def apply(self, pool: Pool) -> Filtered:
        """Rows of a pool that no filter drops, one shard in memory at a time.

        Raises:
            UserError: A column is missing, or nothing is left.
        """
        rules = list(self._rules())
        if not rules:
            return Filtered(np.arange(len(pool)), {})
        columns = list(dict.fromkeys(name for rule in rules for name in rule.columns))
        kept, dropped = [], Counter[str]()
        found = Counter({rule.name: 0 for rule in rules})
        with tqdm(total=len(pool), desc="filtering", delay=3, disable=None) as bar:
            for first, table in pool.shards(columns):
                rows = np.arange(table.num_rows)
                for rule in rules:
                    keep = _apply(rule, take_rows(table, rows), dropped)
                    found[rule.name] += int((~keep).sum())
                    rows = rows[keep]
                kept.append(first + rows)
                bar.update(table.num_rows)
        left = np.concatenate(kept)
        counts = dict(dropped.most_common())
        if not len(left):
            why = ", ".join(f"{count} ({reason})" for reason, count in counts.items())
            raise UserError(f"data.filters leave none of {len(pool)} traces: {why}")
        idle = {name: 0 for name, count in found.items() if not count}
        return Filtered(left, counts | idle)

    def _rules(self) -> Iterator[Rule]:
        if self.finish_reason is not None:
            name = f"finish_reason other than {', '.join(self.finish_reason)}"
            yield Rule(name, ("finish_reason",), self._finish_reason)
        if self.correct:
            yield Rule("not correct", ("correct",), _not_correct)
        tokens = ("response_tokens",)
        if self.min_tokens is not None:
            yield Rule(f"under {self.min_tokens} tokens", tokens, self._too_short)
        if self.max_tokens is not None:
            yield Rule(f"over {self.max_tokens} tokens", tokens, self._too_long)
        texts = ("reasoning", "answer")
        if self.languages is not None:
            name = f"language other than {', '.join(self.languages)}"
            yield Rule(name, texts, self._language)
        if self.think_tags:
            yield Rule("think tags", texts, _has_think_tags)
        if self.loops:
            yield Rule("loops", texts, _loops)

    def _finish_reason(self, table: pa.Table) -> Iterator[tuple[str, Mask]]:
        found = table["finish_reason"]
        yield "finish_reason is null", found.is_null().to_numpy()
        for value in found.unique().drop_null().to_pylist():
            if value not in (self.finish_reason or ()):
                yield f"finish_reason is {value}", _true(pc.equal(found, value))

    def _too_short(self, table: pa.Table) -> Iterator[tuple[str, Mask]]:
        tokens = table["response_tokens"]
        yield "response_tokens is null", tokens.is_null().to_numpy()
        yield f"under {self.min_tokens} tokens", _true(pc.less(tokens, self.min_tokens))

    def _too_long(self, table: pa.Table) -> Iterator[tuple[str, Mask]]:
        tokens = table["response_tokens"]
        yield "response_tokens is null", tokens.is_null().to_numpy()
        yield f"over {self.max_tokens} tokens", _true(pc.greater(tokens, self.max_tokens))

    def _language(self, table: pa.Table) -> Iterator[tuple[str, Mask]]:
        allowed = {*(self.languages or ()), NO_LANGUAGE}
        texts = zip(table["reasoning"].to_pylist(), table["answer"].to_pylist(), strict=True)
        found = np.array([_foreign(reasoning or answer, allowed) for reasoning, answer in texts])
        for name in np.unique(found[found != ""]):
            yield f"language {name}", found == name


def _apply(rule: Rule, table: pa.Table, dropped: Counter[str]) -> Mask:
    """Which rows a rule keeps; what it drops is counted."""
    keep = np.ones(table.num_rows, dtype=bool)
    for reason, mask in rule.wrong(table):
        if count := int((keep & mask).sum()):
            dropped[reason] += count
        keep &= ~mask
    return keep


def _not_correct(table: pa.Table) -> Iterator[tuple[str, Mask]]:
    yield "correct is null", table["correct"].is_null().to_numpy()
    yield "not correct", _true(pc.invert(table["correct"]))


def _has_think_tags(table: pa.Table) -> Iterator[tuple[str, Mask]]:
    for name in ("reasoning", "answer"):
        found = pc.match_substring_regex(table[name], THINK_TAGS)
        yield f"think tags in the {name}", _true(found)


def _loops(table: pa.Table) -> Iterator[tuple[str, Mask]]:
    for name in ("reasoning", "answer"):
        texts = table[name].to_pylist()
        yield f"the {name} loops", np.array([is_looped(text) for text in texts], dtype=bool)


def _foreign(text: str, allowed: set[str]) -> str:
    """The first language of a text that is surely none of those allowed, or nothing."""
    middle = max(0, len(text) // 2 - WINDOW // 2)
    for part in dict.fromkeys((text[:WINDOW], text[middle : middle + WINDOW], text[-WINDOW:])):
        words = NO_WORDS.sub(" ", FORMULAS.sub(" ", part)).strip()
        if len(words) < MIN_LETTERS:
            continue
        scores = dict(_languages().rank(words))  # log-likelihoods
        name = max(scores, key=scores.__getitem__)
        known = max(scores[one] for one in allowed)
        if scores[name] - known > MARGIN * len(words):
            return str(name)
    return ""


def _languages() -> Any:
    """The language identifier, loaded once."""
    from py3langid.langid import _get_identifier

    return _get_identifier()


def _true(mask: pa.ChunkedArray) -> Mask:
    """A mask without nulls."""
    return pc.fill_null(mask, False).to_numpy()  # type: ignore[no-any-return]
