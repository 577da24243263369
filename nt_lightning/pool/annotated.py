"""What a run of annotations has made, and what is said of it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from nt_lightning.pool.annotators import Aspect
from nt_lightning.pool.asking import Unfinished, failed_lines
from nt_lightning.pool.structured import UNFINISHED
from nt_lightning.requests.jobs import Asked


class Annotated(NamedTuple):
    """What a run has made.

    Args:
        asked: What became of the requests, one of all aspects together.
        annotated: Traces that an aspect was wanted of and that have it, by aspect.
        wanted: Traces that an aspect was wanted of, by aspect.
        failed: Annotations that failed, by aspect and reason.
        unknown: Strategies out of the vocabulary, and how often they were given.
        unfinished: Annotations that the same command can still get.
    """

    asked: Asked
    annotated: Counter[Aspect]
    wanted: Counter[Aspect]
    failed: Counter[str]
    unknown: Counter[str]
    unfinished: Unfinished

    def notes(self) -> list[str]:
        """Lines about what has failed and what is out of the vocabulary."""
        notes = []
        for aspect, wanted in self.wanted.items():
            own = {kind: n for kind, n in self.failed.items() if kind.startswith(f"{aspect}: ")}
            failed = sum(n for kind, n in own.items() if not kind.endswith(UNFINISHED))
            notes += failed_lines(failed, wanted, f"annotations of {aspect}")
        if self.unknown:
            listed = ", ".join(f"{name} {count}" for name, count in self.unknown.most_common(10))
            notes.append(f"strategies out of the vocabulary, kept: {listed}")
        return notes
