"""Whether two answers are equal: as mathematics, as numbers, as text."""

from __future__ import annotations

import atexit
import functools
import logging
import re
import threading
from fractions import Fraction
from unicodedata import normalize

from nt_lightning.evaluation.equality.verdict import EXACT, Verdict, undecided
from nt_lightning.evaluation.expendable import Expendable, Message
from nt_lightning.evaluation.numbers import SUPERSCRIPT, THOUSANDS, VULGAR

log = logging.getLogger(__name__)

_VULGAR, _SUPERSCRIPT = re.compile(VULGAR), re.compile(SUPERSCRIPT)
_THOUSANDS = re.compile(rf"(?<=\d){THOUSANDS}(?=\d{{3}})")
_FRACTION = re.compile(
    r"\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(-?\d+)\s*\}|(\d)(?!\d))"
)
_MIXED = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>\d+)\s+(?P<over>\d{1,2})\s*/\s*(?P<under>[1-9]\d?)"
)
_POWER = re.compile(r"(?P<sign>[+-]?)(?P<base>\d+)(?:\^|\*\*)\{?(?P<exponent>-?\d+)\}?")


class UngradedError(Exception):
    """The judge gave no verdict: nothing is certain, it ran out of time, or it failed."""


class MathGrader:
    """Verdicts on answers by ``equality.answers``, in a process that is killed when it hangs.

    Args:
        limit_s: Seconds for one comparison (our choice: 5, math-verify's default).
    """

    def __init__(self, limit_s: float = 5.0) -> None:
        self.worker = Expendable("nt_lightning.evaluation.grading_worker", limit_s)
        self._lock = threading.Lock()

    def verdict(self, reference: str, answer: str, question: str = "") -> Verdict:
        """Compare an answer with its reference; the order matters to math-verify.

        Args:
            reference: The gold answer.
            answer: The answer, without what leads to it.
            question: Its words may stand beside a number.
        """
        if plain_latex(reference) == plain_latex(answer):
            return Verdict(True, EXACT)
        with self._lock:
            reply = self._ask({"reference": reference, "answer": answer, "question": question})
        if reply is None:
            return undecided("timeout")
        if "error" in reply:
            log.debug("no comparison of %r and %r: %s", reference, answer, reply["error"])
            return undecided("failed")
        return Verdict(reply["correct"], reply["by"])

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


def math_equal(reference: str, answer: str, question: str = "") -> bool:
    """Whether an answer equals the reference as mathematics, by the rules of ``pool verify``.

    Raises:
        UngradedError: No verdict is certain, the comparison did not end in time, or it failed.
    """
    verdict = shared_grader().verdict(reference, answer, question)
    if verdict.correct is None:
        raise UngradedError(f"{verdict.by}: {answer[:80]!r} against {reference[:80]!r}")
    return verdict.correct


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
    plain = _VULGAR.sub(lambda found: f" {normalize('NFKC', found[0])}", text).replace("⁄", "/")
    plain = _SUPERSCRIPT.sub(lambda found: f"^{normalize('NFKC', found[0])}", plain)
    plain = re.sub(r"[−–]", "-", plain).replace("$", "").replace("\\%", "%")
    plain = _FRACTION.sub(r" \1\2/\3\4", _THOUSANDS.sub("", plain)).strip().removesuffix("%")
    if mixed := _MIXED.fullmatch(plain):
        whole, part = int(mixed["whole"]), Fraction(int(mixed["over"]), int(mixed["under"]))
        return -whole - part if mixed["sign"] == "-" else whole + part
    plain = re.sub(r"\s|\\$", "", plain)
    plain = re.sub(r"(?:×|x|\\times|\\cdot)10(?:\^|\*\*)\{?(-?\d+)\}?", r"e\1", plain)
    if power := _POWER.fullmatch(plain):
        return _power(int(power["base"]), int(power["exponent"]), power["sign"])
    exponent = re.search(r"e([+-]?\d+)$", plain, re.IGNORECASE)
    if exponent and abs(int(exponent[1])) > 400:  # a Fraction would write out every digit
        return None
    try:
        numerator, slash, denominator = plain.partition("/")
        return Fraction(numerator) / Fraction(denominator if slash else "1")
    except (ValueError, ZeroDivisionError):
        return None


def _power(base: int, exponent: int, sign: str) -> Fraction | None:
    if abs(exponent) > 400 or base > 400 or (base == 0 and exponent < 0):
        return None  # every digit would be written out
    return -(Fraction(base) ** exponent) if sign == "-" else Fraction(base) ** exponent


def plain_latex(text: str) -> str:
    r"""LaTeX without blanks and without the variants that mean the same: ``\dfrac``, ``\left``."""
    plain = re.sub(r"\\left|\\right|\\[!,;: ]|\$", "", text)
    plain = re.sub(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])", "", plain)
    return re.sub(r"\\[dt]frac", r"\\frac", plain)
