"""Whether two answers are equal: as mathematics, as numbers, as text."""

from __future__ import annotations

import atexit
import functools
import logging
import re
import threading
from fractions import Fraction
from typing import Literal

from nt_lightning.evaluation.expendable import Expendable, Message

log = logging.getLogger(__name__)

Verdict = Literal["equal", "different", "timeout", "failed"]


class UngradedError(Exception):
    """The judge gave no verdict: it ran out of time, or it failed."""


class MathGrader:
    """Equality of LaTeX answers by math-verify, in a process that is killed when it hangs.

    Args:
        limit_s: Seconds for one comparison (our choice: 5, math-verify's default).
    """

    def __init__(self, limit_s: float = 5.0) -> None:
        self.worker = Expendable("nt_lightning.evaluation.grading_worker", limit_s)
        self._lock = threading.Lock()

    def verdict(self, reference: str, answer: str) -> Verdict:
        """Compare an answer with its reference; the order matters to math-verify."""
        if plain_latex(reference) == plain_latex(answer):
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
        self.worker.kill()

    def _ask(self, request: Message) -> Message | None:
        """The worker's reply; ``None`` after the limit."""
        try:
            if not self.worker.is_alive:  # or killed from outside since the last comparison
                self.worker.start()
                self.worker.wait()
            self.worker.send(request)
            return self.worker.wait()
        except TimeoutError:
            self.close()
            return None
        except (OSError, EOFError) as error:  # killed for its memory, or crashed in C
            self.close()
            return {"error": f"the worker ended: {error}"}
        except BaseException:  # Ctrl+C: the reply to come belongs to no later request
            self.close()
            raise


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
    if "_" in text:  # Python's 4210_5 is 42105, in a text it is a number to the base 5
        return None
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


def plain_latex(text: str) -> str:
    r"""LaTeX without blanks and without the variants that mean the same: ``\dfrac``, ``\left``."""
    plain = re.sub(r"\\left|\\right|\\[!,;: ]|\$", "", text)
    plain = re.sub(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])", "", plain)
    return re.sub(r"\\[dt]frac", r"\\frac", plain)
