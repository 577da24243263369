"""Whether two answers are equal: as mathematics, as numbers, as text."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import os
import re
import select
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import nt_lightning

log = logging.getLogger(__name__)

Verdict = Literal["equal", "different", "timeout", "failed"]
START_LIMIT_S = 60.0  # importing sympy from a cold disk


class UngradedError(Exception):
    """The judge gave no verdict: it ran out of time, or it failed."""


class MathGrader:
    """Equality of LaTeX answers by math-verify, in a process that is killed when it hangs.

    math-verify's own time limits need the main thread and cannot stop a computation in C
    (Math-Verify issue 65), so the limit is on the clock here and the process is expendable. It is
    a fresh interpreter, no fork: torch's threads do not survive a fork, and a spawn would import
    the main module again.

    Args:
        limit_s: Seconds for one comparison (our choice: 5, math-verify's default).
    """

    def __init__(self, limit_s: float = 5.0) -> None:
        self.limit_s = limit_s
        self._worker: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._lock = threading.Lock()

    def verdict(self, reference: str, answer: str) -> Verdict:
        """Compare an answer with its reference; the order matters to math-verify."""
        if _plain_latex(reference) == _plain_latex(answer):
            return "equal"
        with self._lock:
            reply = self._ask({"reference": reference, "answer": answer})
        if reply is None:
            return "timeout"
        if "error" in reply:
            log.debug("math-verify failed on %r and %r: %s", reference, answer, reply["error"])
            return "failed"
        return "equal" if reply["equal"] else "different"

    def close(self) -> None:
        """End the process; the next comparison starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            for pipe in (self._worker.stdin, self._worker.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # an unsent request
                        pipe.close()
        self._worker, self._unread = None, b""

    def _ask(self, request: dict[str, str]) -> dict[str, Any] | None:
        """The worker's reply; ``None`` after the limit."""
        try:
            worker = self._started()
            assert worker.stdin is not None
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
            return json.loads(self._read_line(worker, self.limit_s))  # type: ignore[no-any-return]
        except TimeoutError:
            self.close()
            return None
        except (OSError, EOFError) as error:  # killed for its memory, or crashed in C
            self.close()
            return {"error": f"the worker ended: {error}"}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is not None and self._worker.poll() is not None:
            self.close()  # killed from outside since the last comparison
        if self._worker is None:
            command = [sys.executable, "-m", "nt_lightning.evaluation.grading_worker"]
            self._worker = subprocess.Popen(
                [*command, str(self.limit_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=Path(nt_lightning.__file__).parents[1],  # -m finds the package from there
                start_new_session=True,  # Ctrl+C is for the run; closing stdin ends the worker
            )
            self._read_line(self._worker, START_LIMIT_S)
        return self._worker

    def _read_line(self, worker: subprocess.Popen[bytes], limit_s: float) -> bytes:
        assert worker.stdout is not None
        deadline, descriptor = time.monotonic() + limit_s, worker.stdout.fileno()
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                raise EOFError(f"exit status {worker.wait()}")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line


@functools.cache
def shared_grader() -> MathGrader:
    """The grader of this process, ended with it."""
    grader = MathGrader()
    atexit.register(grader.close)
    return grader


def math_equal(reference: str, answer: str) -> bool:
    """Whether a LaTeX answer equals the reference.

    Raises:
        UngradedError: math-verify did not end in time, or failed.
    """
    verdict = shared_grader().verdict(reference, answer)
    if verdict in ("timeout", "failed"):
        raise UngradedError(f"math-verify: {verdict} on {answer[:80]!r}")
    return verdict == "equal"


def number_equal(reference: str, answer: str) -> bool:
    """Whether two numbers are equal, exactly; ``45%`` equals 45 and 0.45 (our choice)."""
    left, right = parse_number(reference), parse_number(answer)
    if left is None or right is None:
        return False
    percents = reference.rstrip().endswith("%"), answer.rstrip().endswith("%")
    if percents[0] != percents[1]:
        return left == right or (left / 100 == right if percents[0] else right / 100 == left)
    return left == right


def exact_equal(reference: str, answer: str) -> bool:
    """Whether two texts are equal but for case and blanks."""
    return reference.casefold().split() == answer.casefold().split()


def parse_number(text: str) -> Fraction | None:
    r"""A number as people write it: ``−1,234.5``, ``3/4``, ``\frac{3}{4}``, ``2 \times 10^5``.

    A per cent sign is dropped. ``None`` if the text is no number.
    """
    plain = re.sub(r"[\s$]|\\?%$|(?<=\d),(?=\d{3})", "", text.strip())
    plain = plain.replace("−", "-").replace("–", "-")
    plain = re.sub(r"\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}", r"\1/\2", plain)
    plain = re.sub(r"(?:×|x|\\times|\\cdot)10(?:\^|\*\*)\{?(-?\d+)\}?", r"e\1", plain)
    exponent = re.search(r"e([+-]?\d+)$", plain, re.IGNORECASE)
    if exponent and abs(int(exponent[1])) > 400:  # a Fraction would write out every digit
        return None
    try:
        numerator, slash, denominator = plain.partition("/")
        return Fraction(numerator) / Fraction(denominator if slash else "1")
    except (ValueError, ZeroDivisionError):
        return None


def _plain_latex(text: str) -> str:
    r"""LaTeX without blanks and without the variants that mean the same: ``\dfrac``, ``\left``."""
    plain = re.sub(r"\\left|\\right|\\[!,;: ]|\$", "", text)
    plain = re.sub(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])", "", plain)
    return re.sub(r"\\[dt]frac", r"\\frac", plain)
