"""Sums and differences of two complex numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import (
    Draft,
    Entry,
    Family,
    Finding,
    draft,
    first_then,
    number,
)


class Addition(NamedTuple):
    """``(a + bi) + (c + di)``, or minus."""

    a: int
    b: int
    c: int
    d: int
    sign: str

    def apply(self, left: int, right: int) -> int:
        """One part of the result."""
        return left + right if self.sign == "+" else left - right


class ComplexArithmetic(Family[Addition]):
    """Sums and differences of two complex numbers."""

    name = "complex_arithmetic"
    domain = "algebra"
    condensed = frozenset({"calculation"})
    searched = frozenset({"calculation", "working-backward"})
    levels = {
        "easy": {
            **{"min_real": 1, "max_real": 5, "min_imag": 1, "max_imag": 5},
            **{"operations": ("+",), "operations_weights": [1.0]},
        },
        "medium": {
            **{"min_real": -9, "max_real": 9, "min_imag": -9, "max_imag": 9},
            **{"operations": ("+", "-"), "operations_weights": [0.5, 0.5]},
        },
        "hard": {
            **{"min_real": -99, "max_real": 99, "min_imag": -99, "max_imag": 99},
            **{"operations": ("+", "-"), "operations_weights": [0.5, 0.5]},
        },
    }

    def parse(self, entry: Entry) -> Addition:
        """The four parts from the metadata."""
        facts = entry["metadata"]
        a, b, c, d = (int(part) for part in (*facts["num1"], *facts["num2"]))
        return Addition(a, b, c, d, facts["operation"])

    def operands(self, problem: Addition) -> tuple[Any, ...]:
        """Both numbers, in ascending order where they are added."""
        pair = [(problem.a, problem.b), (problem.c, problem.d)]
        return (problem.sign, *(sorted(pair) if problem.sign == "+" else pair))

    def size(self, problem: Addition) -> int:
        """Two sums, and putting them together."""
        return 3

    def solve(self, problem: Addition) -> str:
        """Both parts of the result."""
        return _complex(problem.apply(problem.a, problem.c), problem.apply(problem.b, problem.d))

    def derive(self, problem: Addition) -> Draft:
        """Real parts, then imaginary parts."""
        real, imaginary = _parts(problem)
        lines = first_then([f"the real parts: {real}.", f"the imaginary parts: {imaginary}."])
        return draft(lines, self.solve(problem), "step-by-step", "calculation", "decomposition")

    def condense(self, problem: Addition) -> str:
        """Both calculations in a line."""
        return ", ".join(_parts(problem))

    def verify(self, problem: Addition) -> Draft:
        """Both parts, checked by undoing them."""
        real, imaginary = _parts(problem)
        back = "-" if problem.sign == "+" else "+"
        undone = [
            f"{problem.apply(one, two)} {back} {number(two)} = {one}"
            for one, two in ((problem.a, problem.c), (problem.b, problem.d))
        ]
        lines = [
            f"Part 1, without i: {real}.",
            f"Part 2, with i: {imaginary}.",
            f"Check: {' and '.join(undone)} give the first number back.",
        ]
        used = ("calculation", "decomposition", "working-backward", "self-verification")
        return draft(lines, self.solve(problem), *used)

    def candidates(self, problem: Addition, rng: Random) -> Iterable[str]:
        """A miss in one part, perhaps one in the other, then both right."""
        real = problem.apply(problem.a, problem.c)
        imaginary = problem.apply(problem.b, problem.d)
        misses = [(rng.choice([-1, 1]), 0), (0, rng.choice([-1, 1]))]
        for off_real, off_imaginary in rng.sample(misses, rng.choice([1, 1, 2])):
            yield _complex(real + off_real, imaginary + off_imaginary)
        yield _complex(real, imaginary)

    def test(self, problem: Addition, candidate: str) -> Finding:
        """Undo the operation part by part: the first number must come out."""
        found = re.fullmatch(r"(-?\d+)\.0 ([+-]) (\d+)\.0i", candidate)
        assert found is not None
        real, imaginary = int(found[1]), int(found[2] + found[3])
        back = "-" if problem.sign == "+" else "+"
        shown = []
        for result, second, first in (
            (real, problem.c, problem.a),
            (imaginary, problem.d, problem.b),
        ):
            start = result - second if back == "-" else result + second
            shown.append(f"{result} {back} {number(second)} = {start}")
            if start != first:
                return Finding(f"{' and '.join(shown)}, not {first}", False)
        return Finding(f"{' and '.join(shown)} as in the first number", True)

    def slip(self, problem: Addition, rng: Random) -> str:
        """Leaves one part as it was, or miscounts one part by one."""
        real = problem.apply(problem.a, problem.c)
        imaginary = problem.apply(problem.b, problem.d)
        return rng.choice(
            [
                _complex(problem.a, imaginary),
                _complex(real, problem.b),
                _complex(real, imaginary + rng.choice([-1, 1])),
            ]
        )


def _parts(problem: Addition) -> tuple[str, str]:
    """The calculation of the real and of the imaginary part."""
    a, b, c, d, sign = problem
    real = f"{a} {sign} {number(c)} = {problem.apply(a, c)}"
    return real, f"{b} {sign} {number(d)} = {problem.apply(b, d)}"


def _complex(real: int, imaginary: int) -> str:
    """A complex number in the generator's notation, never shortened."""
    return f"{real}.0 {'-' if imaginary < 0 else '+'} {abs(imaginary)}.0i"
