"""What the teachers write about problems that were worked out by hand, family by family."""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Any

import pytest

from nt_lightning.pool.embedded.families import FAMILIES
from nt_lightning.pool.embedded.families.aiw import Circle
from nt_lightning.pool.embedded.families.calendar_arithmetic import Offset
from nt_lightning.pool.embedded.families.chain_sum import Sum
from nt_lightning.pool.embedded.families.complex_arithmetic import Addition
from nt_lightning.pool.embedded.families.family_relationships import Kinship
from nt_lightning.pool.embedded.families.needle_haystack import Haystack
from nt_lightning.pool.embedded.families.number_sequence import Rule, rules
from nt_lightning.pool.embedded.families.simple_equations import Linear

STORY = (
    "Jack is married to Ava. They have children called Owen and Mia. "
    "Owen is married to Zoe. They have a child called Finn."
)
COUPLES = ((("Jack", "Ava"), ("Owen", "Mia")), (("Owen", "Zoe"), ("Finn",)))


def entry(text: str = "", /, **metadata: Any) -> dict[str, Any]:
    return {"question": text, "answer": "?", "metadata": metadata}


PARSED: list[tuple[str, dict[str, Any], Any]] = [
    ("chain_sum", entry(expression="7 - 0 + 12"), Sum((7, 0, 12), (1, -1, 1))),
    (
        "calendar_arithmetic",
        entry(start_date="2022-10-18", offset_days=-3),
        Offset(date(2022, 10, 18), -3),
    ),
    ("simple_equations", entry(equation="q + 7 = 12", variable="q"), Linear("q", 1, 7, 12)),
    ("simple_equations", entry(equation="7 - x = 2", variable="x"), Linear("x", -1, 7, 2)),
    (
        "simple_equations",
        entry(equation="56 - 98*e = -1218", variable="e"),
        Linear("e", -98, 56, -1218),
    ),
    ("simple_equations", entry(equation="3*x = 6", variable="x"), None),
    (
        "complex_arithmetic",
        entry(num1=(4.0, -2.0), num2=(3.0, 4.0), operation="-"),
        Addition(4, -2, 3, 4, "-"),
    ),
    ("word_sequence_reversal", entry(words=["a", "law", "Verne"]), ("a", "law", "Verne")),
    ("word_sequence_reversal", entry(words=["the", "law", "The"]), None),
    (
        "needle_haystack",
        entry(
            "Al likes soup. Bo hates a nap. \nWho hates a nap? Reply only with a name.",
            question="Who hates a nap? Reply only with a name.",
        ),
        Haystack((("Al", "likes soup"), ("Bo", "hates a nap")), "hates a nap"),
    ),
    (
        "needle_haystack",
        entry(
            "Al likes soup. Bo likes soup. \nWho likes soup? Reply only with a name.",
            question="Who likes soup? Reply only with a name.",
        ),
        None,
    ),
    (
        "aiw",
        entry(
            "Mary has 3 brothers and she also has 4 sisters. "
            "How many sisters does Mary's brother have?"
        ),
        Circle("Mary", "Mary's brother", 3, 4, "sisters"),
    ),
    (
        "aiw",  # whose brother Bob is, nobody says
        entry(
            "Mary has 4 sisters and she also has 3 brothers. "
            "How many sisters does Bob's brother have?"
        ),
        None,
    ),
    (
        "aiw",
        entry(
            "Mary has 3 male friends and she also has 4 female friends. They all are friends "
            "with each other and have no other friends aside. How many female friends does Bob, "
            "a male friend of Mary, have?"
        ),
        Circle("Mary", "Bob", 3, 4, "female friends"),
    ),
    (
        "family_relationships",
        entry(f"{STORY}\n\nWhat is Ava to Finn?", person1="Ava", person2="Finn"),
        Kinship(COUPLES, "Ava", "Finn"),
    ),
    (
        "family_relationships",  # the generator would say "mother-in-law": what Ava is to Zoe
        entry(f"{STORY}\n\nWhat is Zoe to Ava?", person1="Zoe", person2="Ava"),
        None,
    ),
    (
        "family_relationships",  # the generator would say "niece" or "nephew" of Finn
        entry(f"{STORY}\n\nWhat is Finn to Mia?", person1="Finn", person2="Mia"),
        None,
    ),
    ("number_sequence", entry(sequence=[5, 8, 11, 14, 17]), (5, 8, 11, 14)),
    ("number_sequence", entry(sequence=[9, 4, 2, 1, 0]), None),  # halving rounds down: no rule
]


@pytest.mark.parametrize(("name", "found", "problem"), PARSED)
def test_entries_are_parsed(name: str, found: dict[str, Any], problem: Any) -> None:
    assert FAMILIES[name].parse(found) == problem


# family, problem, what step_by_step, terse and self_verifying write, answer
WRITTEN: list[tuple[str, Any, list[str], str, list[str], str]] = [
    (
        "chain_sum",
        Sum((4, 1, 2), (1, 1, -1)),
        ["First 4 + 1 = 5.", "Then 5 - 2 = 3."],
        "4 -> 5 -> 3",
        [
            "Part 1, the added numbers: 4 + 1 = 5.",
            "Part 2, the subtracted numbers: 2.",
            "Together: 5 - 2 = 3.",
            "Check: 4 + 1 = 5, 5 - 2 = 3, the same.",
        ],
        "3",
    ),
    (
        "calendar_arithmetic",
        Offset(date(2022, 10, 18), 3),  # a Tuesday
        ["First Tuesday, 3 days forward.", "Then 1 Wednesday, 2 Thursday, 3 Friday."],
        "Tuesday + 3 -> Friday",
        [
            "Put another way: 3 days forward is 4 days back, as 3 + 4 = 7 days are whole weeks.",
            "That passes Monday, Sunday, Saturday, Friday.",
            "Check: from Friday the 3 days return to the start: "
            "Friday, Thursday, Wednesday, Tuesday.",
        ],
        "Friday",
    ),
    (
        "calendar_arithmetic",
        Offset(date(2022, 10, 18), -16),
        [
            "First Tuesday, 16 days back.",
            "Then 2 * 7 = 14, 14 + 2 = 16.",
            "Then 1 Monday, 2 Sunday.",
        ],
        "Tuesday - 2 -> Sunday",
        [
            "Put another way: 16 days back is 5 days forward, as 16 + 5 = 21 days are whole weeks.",
            "That passes Wednesday, Thursday, Friday, Saturday, Sunday.",
            "Check: from Sunday the 2 days return to the start: Sunday, Monday, Tuesday.",
        ],
        "Sunday",
    ),
    (
        "simple_equations",
        Linear("q", 1, 7, 12),
        ["First + 7 moves over as - 7: q = 12 - 7.", "Then 12 - 7 = 5."],
        "q = 12 - 7 = 5",
        [
            "Put another way: q is raised by 7, giving 12.",
            "Undone in reverse order: 12 - 7 = 5.",
            "Check: 5 + 7 = 12, as the equation says.",
        ],
        "5",
    ),
    (
        "simple_equations",
        Linear("x", -1, 7, 2),
        ["First x and 2 change sides: x = 7 - 2.", "Then 7 - 2 = 5."],
        "x = 7 - 2 = 5",
        [
            "Put another way: x is multiplied by (-1) and raised by 7, giving 2.",
            "Undone in reverse order: 2 - 7 = -5, -5 / (-1) = 5.",
            "Check: 7 - 5 = 2, as the equation says.",
        ],
        "5",
    ),
    (
        "simple_equations",
        Linear("x", 3, -4, 11),
        ["First - 4 moves over as + 4: 3 * x = 11 + 4.", "Then 11 + 4 = 15.", "Then 15 / 3 = 5."],
        "x = (11 + 4) / 3 = 5",
        [
            "Put another way: x is multiplied by 3 and lowered by 4, giving 11.",
            "Undone in reverse order: 11 + 4 = 15, 15 / 3 = 5.",
            "Check: 3 * 5 = 15, 15 - 4 = 11, as the equation says.",
        ],
        "5",
    ),
    (
        "complex_arithmetic",
        Addition(4, -2, 3, 4, "-"),
        ["First the real parts: 4 - 3 = 1.", "Then the imaginary parts: -2 - 4 = -6."],
        "4 - 3 = 1, -2 - 4 = -6",
        [
            "Part 1, without i: 4 - 3 = 1.",
            "Part 2, with i: -2 - 4 = -6.",
            "Check: 1 + 3 = 4 and -6 + 4 = -2 give the first number back.",
        ],
        "1.0 - 6.0i",
    ),
    (
        "word_sequence_reversal",
        ("a", "law", "Verne"),
        [
            "First Verne is last: Verne.",
            "Then law is before Verne: Verne, law.",
            "Then a is before law: Verne, law, a.",
        ],
        "a law Verne -> Verne law a",
        [
            "Put another way: each word goes in front of what is there.",
            "a | law a | Verne law a.",
            "Check: still 3 words, Verne has come first and a last.",
        ],
        "Verne, law, a",
    ),
    (
        "needle_haystack",
        Haystack((("Al", "likes soup"), ("Bo", "hates a nap")), "hates a nap"),
        ["First look for who hates a nap.", "Then find: Bo hates a nap."],
        "Bo hates a nap",
        [
            "List: 1 Al no, 2 Bo yes.",
            "Check: from the last one, Bo yes, Al no, so only one fits.",
        ],
        "Bo",
    ),
    (
        "aiw",
        Circle("Mary", "Bob", 3, 4, "female friends"),
        ["First Bob has Mary's 4 female friends and Mary.", "Then 4 + 1 = 5."],
        "4 + Mary -> 5",
        [
            "Put another way: of the circle of 1 + 3 + 4 = 8 people 3 are men, "
            "which leaves 8 - 3 = 5 women.",
            "All of them are female friends of Bob.",
            "Check: Mary sees the women but herself, 5 - 1 = 4, as stated.",
        ],
        "5",
    ),
    (
        "family_relationships",
        Kinship(COUPLES, "Ava", "Finn"),
        [
            "First Ava has the child Owen.",
            "Then Owen has the child Finn.",
            "Then Ava is a woman: grandmother.",
        ],
        "grandparent, woman -> grandmother",
        [
            "Put another way: who is Ava, seen by Finn?",
            "Ava has the child Owen and Owen has the child Finn, which makes a grandparent, "
            "and for a woman the word is grandmother.",
            "Check: seen by Ava, Finn is a grandson, which fits grandmother.",
        ],
        "grandmother",
    ),
    (
        "family_relationships",
        Kinship(COUPLES, "Mia", "Finn"),
        [
            "First Mia has the same parents as Owen.",
            "Then Owen has the child Finn.",
            "Then Mia is a woman: aunt.",
        ],
        "parent's sibling, woman -> aunt",
        [
            "Put another way: who is Mia, seen by Finn?",
            "Mia has the same parents as Owen and Owen has the child Finn, which makes a "
            "parent's sibling, and for a woman the word is aunt.",
            "Check: seen by Mia, Finn is a nephew, which fits aunt.",
        ],
        "aunt",
    ),
    (
        "number_sequence",
        (5, 8, 11, 14),
        ["First 5 + 3 = 8.", "Then 8 + 3 = 11.", "Then 11 + 3 = 14.", "Next 14 + 3 = 17."],
        "14 + 3 = 17",
        [
            "Part 1, the gaps: 8 - 5 = 3, 11 - 8 = 3, 14 - 11 = 3.",
            "Part 2, the rule is adding 3: 14 + 3 = 17.",
            "Check: 5 + 3 = 8, 8 + 3 = 11, 11 + 3 = 14, all as listed.",
        ],
        "17",
    ),
]


@pytest.mark.parametrize(("name", "problem", "steps", "short", "checked", "answer"), WRITTEN)
def test_what_is_written(
    name: str, problem: Any, steps: list[str], short: str, checked: list[str], answer: str
) -> None:
    family = FAMILIES[name]
    assert family.derive(problem).lines == steps
    assert family.condense(problem) == short
    assert family.verify(problem).lines == checked
    assert [family.solve(problem), family.derive(problem).answer] == [answer, answer]
    assert family.verify(problem).answer == family.search(problem, Random(0)).answer == answer


# family, problem, a wrong candidate and why, a right one and why
TESTED: list[tuple[str, Any, Any, str, Any, str]] = [
    (
        "chain_sum",
        Sum((4, 1, 2), (1, 1, -1)),
        "2",
        "undone from the end 2 + 2 = 4, 4 - 1 = 3, but the start is 4",
        "3",
        "undone from the end 3 + 2 = 5, 5 - 1 = 4, and the start is 4",
    ),
    (
        "calendar_arithmetic",
        Offset(date(2022, 10, 18), 3),
        "Saturday",
        "3 days back from it is Wednesday, but the start is Tuesday",
        "Friday",
        "3 days back from it is Tuesday, the start",
    ),
    (
        "simple_equations",
        Linear("x", 3, -4, 11),
        "4",
        "3 * 4 = 12, 12 - 4 = 8, not 11",
        "5",
        "3 * 5 = 15, 15 - 4 = 11 as wanted",
    ),
    (
        "complex_arithmetic",
        Addition(4, 2, 3, 4, "+"),
        "7.0 + 5.0i",
        "7 - 3 = 4 and 5 - 4 = 1, not 2",
        "7.0 + 6.0i",
        "7 - 3 = 4 and 6 - 4 = 2 as in the first number",
    ),
    (
        "word_sequence_reversal",
        ("a", "law", "Verne"),
        "Verne, a, law",
        "place 2 needs law, number 2 from the end, but has a",
        "Verne, law, a",
        "each place has the word that far from the end",
    ),
    (
        "needle_haystack",
        Haystack((("Al", "likes soup"), ("Bo", "hates a nap")), "hates a nap"),
        "Al",
        "Al likes soup",
        "Bo",
        "Bo hates a nap",
    ),
    (
        "aiw",
        Circle("Mary", "Mary's brother", 3, 4, "sisters"),
        "4",
        "without Mary that is 4 - 1 = 3, but she has 4 sisters",
        "5",
        "without Mary that is 5 - 1 = 4, her own sisters as stated",
    ),
    (
        "family_relationships",
        Kinship(COUPLES, "Ava", "Owen"),
        "father",
        "that means a parent and a man, but Ava is a woman",
        "mother",
        "that means a parent and a woman, and Ava has the child Owen",
    ),
    (
        "family_relationships",
        Kinship(COUPLES, "Ava", "Owen"),
        "wife",
        "that means a spouse and a woman, but Ava has the child Owen",
        "mother",
        "that means a parent and a woman, and Ava has the child Owen",
    ),
    (
        "number_sequence",
        (3, 6, 12, 24),
        Rule(shift=3),
        "3 + 3 = 6, 6 + 3 = 9, but 12 is listed",
        Rule(factor=2),
        "3 * 2 = 6, 6 * 2 = 12, 12 * 2 = 24, all as listed",
    ),
]


@pytest.mark.parametrize(("name", "problem", "wrong", "why", "right", "because"), TESTED)
def test_candidates_are_judged_with_a_reason(
    name: str, problem: Any, wrong: Any, why: str, right: Any, because: str
) -> None:
    family = FAMILIES[name]
    assert family.test(problem, wrong) == (why, False)
    assert family.test(problem, right) == (because, True)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ("Jack", "Ava", "husband"),
        ("Ava", "Owen", "mother"),
        ("Mia", "Jack", "daughter"),
        ("Owen", "Mia", "brother"),
        ("Jack", "Finn", "grandfather"),
        ("Mia", "Finn", "aunt"),
    ],
)
def test_relations(one: str, other: str, answer: str) -> None:
    assert FAMILIES["family_relationships"].solve(Kinship(COUPLES, one, other)) == answer


@pytest.mark.parametrize(
    ("terms", "rule", "text"),
    [
        ((5, 8, 11, 14), Rule(shift=3), "adding 3"),
        ((5, 2, -1, -4), Rule(shift=-3), "subtracting 3"),
        ((3, 6, 12, 24), Rule(factor=2), "multiplying by 2"),
        ((2, 7, 17, 37), Rule(factor=2, shift=3), "multiplying by 2 and adding 3"),
        ((2, 5, 7, 12), Rule(back=True), "adding the two last numbers"),
    ],
)
def test_rules_of_sequences(terms: tuple[int, ...], rule: Rule, text: str) -> None:
    assert rules(terms) == [rule]
    assert str(rule) == text


def test_search_goes_back_from_what_is_wrong() -> None:
    haystack = Haystack((("Al", "likes soup"), ("Bo", "hates a nap")), "hates a nap")
    found = FAMILIES["needle_haystack"].search(haystack, Random(0))
    assert found.lines == [
        "Try Al: Al likes soup, so that is wrong.",
        "Go back and try Bo: Bo hates a nap, so that is right.",
    ]
    assert found.strategies == {"trial-and-error", "backtracking"}
