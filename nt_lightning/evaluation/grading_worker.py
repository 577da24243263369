"""The process in which math-verify runs: JSON lines in, JSON lines out, killed when it hangs.

Started by ``grading.MathGrader`` as ``python -m nt_lightning.evaluation.grading_worker LIMIT_S``;
it imports neither torch nor Lightning.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

MEMORY_LIMIT = 4 << 30  # bytes of address space, against 10^{10^{10}} (our choice)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 5.0  # beyond the caller's limit; then the caller is gone and the process ends itself

Message = dict[str, Any]


def serve(limit_s: float, load: Callable[[], Callable[[Message], Message]]) -> None:
    """Answer the requests on stdin, one a line; the first line written says that all is loaded.

    Args:
        limit_s: The caller's limit for one answer.
        load: Imports what is needed and returns what answers; when that raises, the answer is
            ``{"error": str}``.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not get between the replies
    logging.disable(logging.CRITICAL)
    os.environ |= dict.fromkeys(ONE_THREAD, "1")  # numpy's threads reserve addresses for each core
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def reply(message: Message) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    answer = load()
    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
        try:
            message = answer(request)
        except Exception as error:
            message = {"error": f"{type(error).__name__}: {error}"}
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        reply(message)


class Comparison(NamedTuple):
    """What math-verify makes of two answers.

    Args:
        equal: Whether they are equal.
        parsed: Whether both are mathematics to it; it compares other texts as texts.
        symbols: Names of the free symbols of the reference and of the answer; in small letters,
            since to math-verify ``R`` and ``r`` are the same.
        values: Numerical values, ``None`` where there is no single real one.
    """

    equal: bool
    parsed: bool
    symbols: tuple[frozenset[str], frozenset[str]]
    values: tuple[float | None, float | None]


class Comparer:
    """math-verify without time limits: those are the caller's."""

    def __init__(self) -> None:
        import math_verify

        self._library = math_verify
        self._rules = [
            math_verify.LatexExtractionConfig(boxed_match_priority=0),
            math_verify.ExprExtractionConfig(),
        ]

    def equal(self, reference: str, answer: str) -> bool:
        """Whether a LaTeX answer equals the reference."""
        return self._equal(self._parse(reference), self._parse(answer.strip("$ ")))

    def compare(self, reference: str, answer: str) -> Comparison:
        """Whether a LaTeX answer equals the reference, and how far that can be trusted."""
        gold, guess = self._parse(reference), self._parse(answer.strip("$ "))
        sides = [
            next((one for one in side if type(one) is not str), None) for side in (gold, guess)
        ]
        left, right = sides
        return Comparison(
            equal=self._equal(gold, guess),
            parsed=left is not None and right is not None,
            symbols=(_symbols(left), _symbols(right)),
            values=(_value(left), _value(right)),
        )

    def _parse(self, latex: str) -> list[Any]:
        # None: math-verify's own time limits set SIGALRM, which is the backstop here.
        return self._library.parse(f"${latex}$", self._rules, parsing_timeout=None)  # type: ignore[no-any-return]

    def _equal(self, gold: list[Any], guess: list[Any]) -> bool:
        return bool(self._library.verify(gold, guess, timeout_seconds=None))


def _symbols(expression: Any) -> frozenset[str]:
    return frozenset(str(symbol).lower() for symbol in getattr(expression, "free_symbols", ()))


def _value(expression: Any) -> float | None:
    if not getattr(expression, "is_number", False):
        return None
    try:
        value = float(expression)
    except (TypeError, ValueError, OverflowError):  # complex, too large
        return None
    return value if math.isfinite(value) else None


def main() -> None:
    """Read ``{"reference": str, "answer": str}``, write ``{"equal": bool}`` or an error."""

    def load() -> Callable[[Message], Message]:
        comparer = Comparer()
        return lambda asked: {"equal": comparer.equal(asked["reference"], asked["answer"])}

    serve(float(sys.argv[1]), load)


if __name__ == "__main__":
    main()
