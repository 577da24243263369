"""Linear equations in one unknown."""

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


class Linear(NamedTuple):
    """``coefficient * variable + constant = value``."""

    variable: str
    coefficient: int
    constant: int
    value: int


class SimpleEquations(Family[Linear]):
    """Linear equations in one unknown."""

    name = "simple_equations"
    domain = "algebra"
    condensed = frozenset({"calculation"})
    searched = frozenset({"calculation"})
    levels = {
        "easy": {
            "min_terms": 2,
            "max_terms": 2,
            "max_value": 10,
            "operators": ("+", "-"),
            "operators_weights": [0.5, 0.5],
        },
        "medium": {"min_terms": 2, "max_terms": 2, "max_value": 12},
        "hard": {"min_terms": 3, "max_terms": 4, "max_value": 50},
    }

    def parse(self, entry: Entry) -> Linear | None:
        """The equation as sympy has printed it; None where a side is bare."""
        variable = entry["metadata"]["variable"]
        left, value = entry["metadata"]["equation"].split(" = ")
        coefficient = constant = 0
        for sign, term in re.findall(r"([+-]?)([^+-]+)", left.replace(" ", "")):
            factor = -1 if sign == "-" else 1
            if term.endswith(variable):
                coefficient += factor * int(term[:-1].rstrip("*") or 1)
            else:
                constant += factor * int(term)
        problem = Linear(variable, coefficient, constant, int(value))
        return problem if coefficient and constant else None

    def fits(self, problem: Linear, level: str) -> bool:
        """At the easy level the right side lies within 0..10."""
        return level != "easy" or 0 <= problem.value <= 10

    def operands(self, problem: Linear) -> tuple[Any, ...]:
        """The numbers; the unknown's name does not matter."""
        return problem[1:]

    def size(self, problem: Linear) -> int:
        """Moving the constant and computing; dividing where there is a coefficient."""
        return 2 + (abs(problem.coefficient) != 1) + (problem.coefficient < 0)

    def solve(self, problem: Linear) -> str:
        """The unknown."""
        return str((problem.value - problem.constant) // problem.coefficient)

    def derive(self, problem: Linear) -> Draft:
        """Move the constant with its sign turned, compute, divide."""
        name, coefficient, constant, value = problem
        left = value - constant
        if coefficient == -1:
            moved, result = f"{constant} - {number(value)}", -left
            opening = f"{name} and {value} change sides: {name}"
        else:
            moved, result = _moved(problem), left
            here, there = ("+", "-") if constant > 0 else ("-", "+")
            product = name if coefficient == 1 else f"{coefficient} * {name}"
            opening = f"{here} {abs(constant)} moves over as {there} {abs(constant)}: {product}"
        lines = [f"{opening} = {moved}.", f"{moved} = {result}."]
        if abs(coefficient) != 1:
            lines.append(f"{left} / {number(coefficient)} = {left // coefficient}.")
        return draft(first_then(lines), self.solve(problem), "step-by-step", "calculation")

    def condense(self, problem: Linear) -> str:
        """One expression."""
        moved, answer = _moved(problem), self.solve(problem)
        if problem.coefficient == 1:
            return f"{problem.variable} = {moved} = {answer}"
        if problem.coefficient == -1:
            return f"{problem.variable} = {problem.constant} - {number(problem.value)} = {answer}"
        return f"{problem.variable} = ({moved}) / {number(problem.coefficient)} = {answer}"

    def verify(self, problem: Linear) -> Draft:
        """What happens to the unknown, undone in reverse order; checked by putting it in."""
        name, coefficient, constant, value = problem
        left, answer = value - constant, self.solve(problem)
        happens = [f"{'raised' if constant > 0 else 'lowered'} by {abs(constant)}"]
        undo = [f"{_moved(problem)} = {left}"]
        if coefficient != 1:
            happens.insert(0, f"multiplied by {number(coefficient)}")
            undo.append(f"{left} / {number(coefficient)} = {answer}")
        lines = [
            f"Put another way: {name} is {' and '.join(happens)}, giving {value}.",
            f"Undone in reverse order: {', '.join(undo)}.",
            f"Check: {_put_in(problem, int(answer))}, as the equation says.",
        ]
        used = ("calculation", "working-backward", "reframing", "self-verification")
        return draft(lines, answer, *used)

    def candidates(self, problem: Linear, rng: Random) -> Iterable[str]:
        """A near miss, then one step nearer each time."""
        miss = rng.choice([-2, -1, 1, 2])
        step = 1 if miss < 0 else -1
        for distance in range(miss, step, step):
            yield str(int(self.solve(problem)) + distance)

    def test(self, problem: Linear, candidate: str) -> Finding:
        """Put the candidate in: the right side must come out."""
        _, coefficient, constant, value = problem
        text = _put_in(problem, int(candidate))
        if coefficient * int(candidate) + constant == value:
            return Finding(f"{text} as wanted", True)
        return Finding(f"{text}, not {value}", False)

    def slip(self, problem: Linear, rng: Random) -> str:
        """Moves the constant without turning its sign, or is off by one."""
        _, coefficient, constant, value = problem
        wrong = (value + constant) // coefficient
        return str(rng.choice([wrong, wrong, int(self.solve(problem)) + rng.choice([-1, 1])]))


def _moved(problem: Linear) -> str:
    """The right side with the constant moved over."""
    sign = "-" if problem.constant >= 0 else "+"
    return f"{problem.value} {sign} {abs(problem.constant)}"


def _put_in(problem: Linear, guess: int) -> str:
    """The left side with a number in the unknown's place."""
    _, coefficient, constant, _ = problem
    product = coefficient * guess
    if coefficient == -1:
        return f"{constant} - {number(guess)} = {constant + product}"
    parts = [] if coefficient == 1 else [f"{coefficient} * {number(guess)} = {product}"]
    sign = "+" if constant >= 0 else "-"
    return ", ".join([*parts, f"{product} {sign} {abs(constant)} = {product + constant}"])
