"""What a page of responses holds: rows of one run or of two, joined, drawn and packed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.evaluation.anchors import visible_start
from nt_lightning.evaluation.results import RESPONSES_FOLDER
from nt_lightning.traces.modes import MODE_NAMES

SEED = "samples.html"  # of the draw
SHARED = ("benchmark", "mode", "problem_id", "repeat")  # what makes two responses a pair
_COPIED = ("num_tokens", "finish_reason", "outcome", "answer", "rule", "correct", "obedient")
_TEXTS = ("prompt", "response", "reference_answer", "span")


class Stored(NamedTuple):
    """A stored response without its texts: what it is, how it ended, and where it stands."""

    benchmark: str
    mode: str
    problem_id: str
    repeat: int
    stage: str
    outcome: str
    correct: bool | None
    path: Path
    offset: int

    @property
    def pair_key(self) -> tuple[str, str, str, int]:
        """Benchmark, mode, problem and repeat."""
        return self[:4]


class Pair(NamedTuple):
    """A response and that of the other run to the same question; ``None`` without one."""

    first: Stored
    second: Stored | None

    @property
    def group(self) -> Hashable:
        """What responses are taken evenly over."""
        one, two = self
        verdicts = (one.outcome, one.correct, two and two.outcome, two and two.correct)
        return (one.benchmark, one.stage, one.mode, *verdicts)


class Joined(NamedTuple):
    """Two runs' responses to the same questions.

    Args:
        pairs: All responses of the first run at its stage.
        stages: The stage of each run.
        alone: How many responses of each run have no partner.
    """

    pairs: list[Pair]
    stages: tuple[str, str]
    alone: tuple[int, int]


def stage_order(stage: str) -> tuple[int, int, str]:
    """Sorts stages by time: ``before``, ``step-<n>`` by n, others, ``after``, ``test``."""
    name, _, number = stage.partition("-")
    if name == "step" and number.isdecimal():
        return 1, int(number), stage
    return {"before": 0, "after": 3, "test": 4}.get(stage, 2), 0, stage


def compared_stage(stages: Iterable[str], wanted: str | None = None) -> str:
    """The stage of a run that is compared: the wanted one, ``after``, ``test``, or the last.

    Raises:
        UserError: The wanted one is not there.
    """
    found = set(stages)
    if wanted is not None and wanted not in found:
        there = ", ".join(sorted(found, key=stage_order))
        raise UserError(f"stage {wanted!r} is not in the run; there: {there}")
    last = max(found, key=stage_order)
    return wanted or next((stage for stage in ("after", "test") if stage in found), last)


def stored_responses(run: Path) -> list[Stored]:
    """All responses of a run in the order of stages, benchmarks and modes, texts left on the disk.

    Raises:
        UserError: The run has none, or a line of a file is no response.
    """
    rows = [
        row for path in sorted((run / RESPONSES_FOLDER).glob("*/*.jsonl")) for row in _rows_of(path)
    ]
    if not rows:
        raise UserError(
            f"{run} holds no responses; a run folder with {RESPONSES_FOLDER}/<stage>/"
            "<benchmark>-<mode>.jsonl is needed"
        )
    modes = {name: number for number, name in enumerate(MODE_NAMES)}
    return sorted(
        rows, key=lambda r: (stage_order(r.stage), r.benchmark, modes.get(r.mode, len(modes)))
    )


def join(
    first: Sequence[Stored],
    second: Sequence[Stored],
    wanted: tuple[str | None, str | None] = (None, None),
) -> Joined:
    """Join two runs' responses by benchmark, mode, problem and repeat, each at one stage.

    Args:
        first: Responses of one run.
        second: Of another, or the same.
        wanted: The stage of each, by ``compared_stage``; all others are left out.

    Raises:
        UserError: A stage is not there, or they have no question in common.
    """
    stages = tuple(
        compared_stage((row.stage for row in rows), stage)
        for rows, stage in zip((first, second), wanted, strict=True)
    )
    own = [row for row in first if row.stage == stages[0]]
    others = {row.pair_key: row for row in second if row.stage == stages[1]}
    pairs = [Pair(row, others.get(row.pair_key)) for row in own]
    together = sum(pair.second is not None for pair in pairs)
    if not together:
        raise UserError(
            f"the two runs have no response in common at the stages {stages[0]!r} and "
            f"{stages[1]!r}; pairs need the same benchmark, mode, problem and repeat"
        )
    return Joined(pairs, (stages[0], stages[1]), (len(pairs) - together, len(others) - together))


def draw(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """At most ``limit`` of the pairs, evenly over their groups, in the order they had.

    Small groups are whole, the others equally large but for one; where there is not room for one
    of each, the rarest are there. Within a group the order is by
    (seed, benchmark, problem, repeat), so that stages and modes tend to show the same problems.
    """
    if len(pairs) <= limit:
        return list(pairs)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        groups[pair.group].append(place)
    taken: list[int] = []
    by_size = sorted(groups.values(), key=len)
    for number, places in enumerate(by_size):
        share = ceil((limit - len(taken)) / (len(by_size) - number))
        taken += sorted(places, key=lambda place: _lot(pairs[place].first))[:share]
    return [pairs[place] for place in sorted(taken)]


def packed_rows(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What the page's script reads: rows of one or two responses, equal prompts kept once.

    Offsets (``span``, and ``reasoning_end``, where the text after the last end of thinking
    begins) count UTF-16 units, as the browser's strings do.
    """
    prompts: dict[str, int] = {}
    handles: dict[Path, BinaryIO] = {}
    rows = []
    try:
        for pair in pairs:
            values = [_read(stored, handles) if stored else None for stored in pair]
            first = values[0]
            assert first is not None
            rows.append(
                {name: first[name] for name in (*SHARED, "stage")}
                | {"domain": first.get("domain") or ""}
                | {"responses": [v and _packed(v, prompts) for v in values]}
            )
    finally:
        for handle in handles.values():
            handle.close()
    return {"prompts": list(prompts), "rows": rows}


def _rows_of(path: Path) -> Iterator[Stored]:
    with path.open("rb") as lines:
        offset = 0
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                missing = [n for n in (*SHARED, "stage", *_COPIED, *_TEXTS) if n not in row]
            except (ValueError, TypeError) as error:
                raise UserError(f"{path}, line {number} is no stored response: {error}") from None
            if missing:
                lacks = ", ".join(missing)
                raise UserError(f"{path}, line {number} is no stored response: it lacks {lacks}")
            facts = {name: row[name] for name in Stored._fields[:7]}
            yield Stored(**facts, path=path, offset=offset)
            offset += len(line)


def _lot(row: Stored) -> bytes:
    text = json.dumps([SEED, row.benchmark, row.problem_id, row.repeat])
    return sha256(text.encode()).digest()


def _read(stored: Stored, handles: dict[Path, BinaryIO]) -> dict[str, Any]:
    if stored.path not in handles:
        handles[stored.path] = stored.path.open("rb")
    handle = handles[stored.path]
    handle.seek(stored.offset)
    row: dict[str, Any] = json.loads(handle.readline())
    return row


def _packed(row: Mapping[str, Any], prompts: dict[str, int]) -> dict[str, Any]:
    text, prompt = row["response"], row["prompt"]
    start = visible_start(text)
    return {name: row[name] for name in _COPIED} | {
        "prompt": prompts.setdefault(prompt, len(prompts)),
        "text": text,
        "is_stored": bool(text or prompt),
        "reference": row["reference_answer"],
        "reasoning_end": _units(text if start is None else text[:start]),
        "span": [_units(text[:place]) for place in row["span"]] if row["span"] else None,
    }


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)
