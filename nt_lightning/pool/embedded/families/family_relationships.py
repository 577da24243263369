"""What one person of a family is to another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import Draft, Entry, Family, Finding, draft, first_then

# relation -> (word for a man, word for a woman, what the other one is: relation)
WORDS = {
    "spouse": ("husband", "wife", "spouse"),
    "parent": ("father", "mother", "child"),
    "child": ("son", "daughter", "parent"),
    "sibling": ("brother", "sister", "sibling"),
    "grandparent": ("grandfather", "grandmother", "grandchild"),
    "grandchild": ("grandson", "granddaughter", "grandparent"),
    "parent's sibling": ("uncle", "aunt", "sibling's child"),
    "sibling's child": ("nephew", "niece", "parent's sibling"),
}
ASKED = ("spouse", "parent", "child", "sibling", "grandparent", "parent's sibling")


class Kinship(NamedTuple):
    """Marriages with their children in the story's order, and two persons."""

    couples: tuple[tuple[tuple[str, str], tuple[str, ...]], ...]
    one: str
    other: str

    def parents(self, person: str) -> tuple[str, ...]:
        """Both parents, or none when the story does not name them."""
        return next((pair for pair, children in self.couples if person in children), ())

    def chain(self) -> tuple[str, list[str]] | None:
        """The relation of ``one`` to ``other``, and the facts that lead from one to the other."""
        one, other = self.one, self.other
        if any({one, other} == set(pair) for pair, _ in self.couples):
            return "spouse", [f"{one} is married to {other}"]
        if one in self.parents(other):
            return "parent", [f"{one} has the child {other}"]
        if other in self.parents(one):
            return "child", [f"{one} is a child of {other}"]
        if self.parents(one) and self.parents(one) == self.parents(other):
            return "sibling", [f"{one} has the same parents as {other}"]
        for middle in self.parents(other):
            last = f"{middle} has the child {other}"
            if one in self.parents(middle):
                return "grandparent", [f"{one} has the child {middle}", last]
            if self.parents(one) and self.parents(one) == self.parents(middle):
                shared = f"{one} has the same parents as {middle}"
                return "parent's sibling", [shared, last]
        return None


class FamilyRelationships(Family[Kinship]):
    """What one person of a family is to another.

    The generator words its in-law and niece or nephew answers from the wrong side ("What is Mary
    to Lily?" is answered with what Lily is to Mary): those questions are out of scope.
    """

    name = "family_relationships"
    domain = "graphs"
    levels = {
        "easy": {"min_family_size": 4, "max_family_size": 5},
        "medium": {"min_family_size": 6, "max_family_size": 8},
        "hard": {"min_family_size": 9, "max_family_size": 12},
    }

    def parse(self, entry: Entry) -> Kinship | None:
        """The story's marriages and children; None for a relation out of scope."""
        couples: list[tuple[tuple[str, str], tuple[str, ...]]] = []
        story = entry["question"].split("\n\n")[0]
        for text in story.rstrip(".").split(". "):
            if found := re.fullmatch(r"(\w+) is married to (\w+)", text):
                couples.append(((found[1], found[2]), ()))
            elif found := re.fullmatch(r"They have (?:a child|children) called (.+)", text):
                couples[-1] = (couples[-1][0], tuple(re.split(r", | and ", found[1])))
        facts = entry["metadata"]
        problem = Kinship(tuple(couples), facts["person1"], facts["person2"])
        return problem if problem.chain() else None

    def operands(self, problem: Kinship) -> tuple[Any, ...]:
        """The two persons and the set of facts."""
        return (problem.one, problem.other, *sorted(problem.couples))

    def size(self, problem: Kinship) -> int:
        """One operation a fact, one for being a man or a woman, one for the word."""
        return len(self._chain(problem)[1]) + 2

    def solve(self, problem: Kinship) -> str:
        """The word for the relation."""
        return _word(self._chain(problem)[0], problem.one)

    def derive(self, problem: Kinship) -> Draft:
        """The facts on the way, then the word."""
        answer = self.solve(problem)
        facts = [f"{fact}." for fact in self._chain(problem)[1]]
        lines = first_then([*facts, f"{problem.one} is a {_kind(problem.one)}: {answer}."])
        return draft(lines, answer, "step-by-step", "lookup")

    def condense(self, problem: Kinship) -> str:
        """Relation, man or woman, word."""
        return f"{self._chain(problem)[0]}, {_kind(problem.one)} -> {self.solve(problem)}"

    def verify(self, problem: Kinship) -> Draft:
        """Start from the relation, and check it from the other side."""
        relation, facts = self._chain(problem)
        answer = self.solve(problem)
        lines = [
            f"Put another way: who is {problem.one}, seen by {problem.other}?",
            f"{' and '.join(facts)}, which makes a {relation}, and for a {_kind(problem.one)} "
            f"the word is {answer}.",
            f"Check: seen by {problem.one}, {problem.other} is a "
            f"{_word(WORDS[relation][2], problem.other)}, which fits {answer}.",
        ]
        return draft(lines, answer, "reframing", "self-verification")

    def candidates(self, problem: Kinship, rng: Random) -> Iterable[str]:
        """The word for the other sex or another relation, then the right word."""
        relation, right = self._chain(problem)[0], self.solve(problem)
        man, woman, _ = WORDS[relation]
        others = [_word(name, problem.one) for name in ASKED if name != relation]
        wrong = [woman if right == man else man, rng.choice(others)]
        yield from rng.sample(wrong, rng.choice([1, 1, 2]))
        yield right

    def test(self, problem: Kinship, candidate: str) -> Finding:
        """Compare relation and sex with what the story tells."""
        relation, facts = self._chain(problem)
        tried, is_woman = next(
            (name, candidate == woman)
            for name, (man, woman, _) in WORDS.items()
            if candidate in (man, woman)
        )
        meant = f"that means a {tried} and a {'woman' if is_woman else 'man'}"
        known = " and ".join(facts)
        if tried != relation:
            return Finding(f"{meant}, but {known}", False)
        if is_woman != _is_woman(problem.one):
            return Finding(f"{meant}, but {problem.one} is a {_kind(problem.one)}", False)
        return Finding(f"{meant}, and {known}", True)

    def slip(self, problem: Kinship, rng: Random) -> str:
        """Answers from the other person's side, or with the word for the other sex."""
        relation, right = self._chain(problem)[0], self.solve(problem)
        man, woman, other_side = WORDS[relation]
        turned = _word(other_side, problem.other)
        return rng.choice([turned, woman if right == man else man])

    def _chain(self, problem: Kinship) -> tuple[str, list[str]]:
        found = problem.chain()
        assert found is not None, "parse keeps only questions with a chain"
        return found


@cache
def _women() -> frozenset[str]:
    """The generator's names of women."""
    from reasoning_gym.graphs.family_relationships import FamilyRelationshipsConfig

    return frozenset(FamilyRelationshipsConfig().female_names)


def _is_woman(person: str) -> bool:
    return person in _women()


def _kind(person: str) -> str:
    return "woman" if _is_woman(person) else "man"


def _word(relation: str, person: str) -> str:
    return WORDS[relation][_is_woman(person)]
