"""Lists of words, read from the end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from random import Random
from typing import Any

from nt_lightning.pool.embedded.family import Draft, Entry, Family, Finding, draft, first_then

Words = tuple[str, ...]


class WordSequenceReversal(Family[Words]):
    """Lists of words, read from the end."""

    name = "word_sequence_reversal"
    domain = "algorithmic"
    levels = {
        "easy": {"min_words": 3, "max_words": 4},
        "medium": {"min_words": 5, "max_words": 7},
        "hard": {"min_words": 8, "max_words": 12},
    }

    def parse(self, entry: Entry) -> Words | None:
        """The words; None where one appears twice, as its place would be ambiguous."""
        words = tuple(entry["metadata"]["words"])
        return words if len({word.lower() for word in words}) == len(words) else None

    def operands(self, problem: Words) -> tuple[Any, ...]:
        """The set of words."""
        return tuple(sorted(problem))

    def size(self, problem: Words) -> int:
        """One operation a word."""
        return len(problem)

    def solve(self, problem: Words) -> str:
        """The words from the end."""
        return ", ".join(reversed(problem))

    def derive(self, problem: Words) -> Draft:
        """Go from the last word to the one before it, the list growing."""
        lines, backward = [f"{problem[-1]} is last: {problem[-1]}."], list(reversed(problem))
        for count, (after, word) in enumerate(pairwise(backward), start=2):
            lines.append(f"{word} is before {after}: {', '.join(backward[:count])}.")
        used = ("step-by-step", "running-result", "working-backward")
        return draft(first_then(lines), self.solve(problem), *used)

    def condense(self, problem: Words) -> str:
        """Both lists in a line."""
        return f"{' '.join(problem)} -> {' '.join(reversed(problem))}"

    def verify(self, problem: Words) -> Draft:
        """Put each word in front of the ones before it; check the ends and the number."""
        built = [" ".join(reversed(problem[:count])) for count in range(1, len(problem) + 1)]
        lines = [
            "Put another way: each word goes in front of what is there.",
            f"{' | '.join(built)}.",
            f"Check: still {len(problem)} words, {problem[-1]} has come first "
            f"and {problem[0]} last.",
        ]
        return draft(lines, built[-1].replace(" ", ", "), "reframing", "self-verification")

    def candidates(self, problem: Words, rng: Random) -> Iterable[str]:
        """The right list with two neighbours exchanged, then without."""
        right = list(reversed(problem))
        place = rng.randrange(len(right) - 1)
        wrong = list(right)
        wrong[place : place + 2] = reversed(wrong[place : place + 2])
        yield ", ".join(wrong)
        yield ", ".join(right)

    def test(self, problem: Words, candidate: str) -> Finding:
        """Compare each place with the question's, counted from the other end."""
        for place, word in enumerate(candidate.split(", "), start=1):
            wanted = problem[-place]
            if word != wanted:
                return Finding(
                    f"place {place} needs {wanted}, number {place} from the end, but has {word}",
                    False,
                )
        return Finding("each place has the word that far from the end", True)

    def slip(self, problem: Words, rng: Random) -> str:
        """Exchanges two neighbours, or leaves a word out."""
        words = list(reversed(problem))
        place = rng.randrange(len(words) - 1)
        if rng.random() < 0.5:
            del words[place]
        else:
            words[place : place + 2] = reversed(words[place : place + 2])
        return ", ".join(words)
