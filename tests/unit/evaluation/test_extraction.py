"""Hard responses with the answer that a careful reader takes from them, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.evaluation.extraction import NO_ANSWER, extract
from nt_lightning.evaluation.grading import number_equal

SHARED = Path(__file__).parents[4] / "shared" / "data"
MIP = SHARED / "mip_overthinking" / "response" / "gsm8k" / "normal"
REPLY_KEYS = ("model_answer", "deepseek-reasoner (question)")

CASES: list[tuple[str, str, str | None]] = [
    # -- thinking ---------------------------------------------------------------------------
    ("number", "<think>\nAnswer: 3\n</think>\n\nAnswer: 4", "4"),
    ("number", "<think>\nSo the answer is 3.\n</think>\n\n", None),
    ("number", "<think>\nSo the answer is 3. Wait, Answer: 5", None),
    ("number", "<think>a</think> Answer: 1 <think> no, Answer: 2", None),
    ("number", "Okay, 3 or 4?\n</think>\nAnswer: 4", "4"),  # R1 leaves out the opening tag
    ("number", "<think>1</think> Answer: 1\n<think>2</think> Answer: 2", "2"),
    ("number", "no tags at all, the answer is 7", "7"),
    ("boxed", "<think>\\boxed{1}</think> It is \\boxed{2}.", "2"),
    ("boxed", "<think>\\boxed{1}</think> I am not sure.", None),
    ("letter", "<think>Answer: B</think>\nAnswer: C", "C"),
    ("letter", "<think>Answer: B</think>\nI cannot say.", None),
    ("exact", "<think>\nred\n</think>\n\nblue", "blue"),
    ("exact", "<think>\nred", None),
    ("exact", "", None),
    ("exact", "<think>\n</think>\n\n  \n", None),
    # -- boxed ------------------------------------------------------------------------------
    ("boxed", r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
    ("boxed", r"\boxed{3} no, \boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
    ("boxed", r"\boxed{x_{1} + \sqrt{2}}", r"x_{1} + \sqrt{2}"),
    ("boxed", r"\boxed{ 42. }", "42"),
    ("boxed", r"$\boxed 5$", "5"),
    ("boxed", r"\fbox{12}", "12"),
    ("boxed", r"first \boxed{7}, and then \boxed{8", "7"),  # cut off: the last complete one
    ("boxed", r"\boxed{}", None),
    ("boxed", r"The answer is $\frac{3}{4}$ because of symmetry.", r"\frac{3}{4}"),
    ("boxed", "Answer: x^2 + 1", "x^2 + 1"),
    ("boxed", "**Final Answer**\n\n\\[\n\\boxed{2\\pi}\n\\]", r"2\pi"),
    ("boxed", r"The answer is \( \sqrt{3} \).", r"\sqrt{3}"),
    ("boxed", "It is somewhere between 3 and 5.", None),
    ("boxed", r"\boxed{\text{Evelyn}}", r"\text{Evelyn}"),
    # -- letter -----------------------------------------------------------------------------
    ("letter", "The answer is (B).", "B"),
    ("letter", "Answer: B", "B"),
    ("letter", "**Answer:** (C) Paris", "C"),
    ("letter", "**Answer: D**", "D"),
    ("letter", "Answer: A. No wait. Answer: D", "D"),
    ("letter", "The answer is a number between 3 and 5.", None),
    ("letter", "The answer is A number between 3 and 5.", None),
    ("letter", "Answer: a triangle", None),
    ("letter", "Answer: I think it is hard to say", None),
    ("letter", "Answer: A because the sum is even.", "A"),
    ("letter", "The answer is A.", "A"),
    ("letter", "The answer is (a).", "a"),
    ("letter", "the answer is not (A) but the answer is (C)", "C"),
    ("letter", "Answer: C. So the answer is not A.", "C"),
    ("letter", "Answer: C\nI do not think that the answer is B.", "C"),
    ("letter", "Answer: C\nIf the answer is A, then the sky is green.", "C"),
    ("letter", "This is why the answer is E.", "E"),
    ("letter", "The answer isn't B.", None),
    ("letter", "The answer is (A) or (B).", "A"),
    ("letter", "Answer: A and C", "A"),
    ("letter", "The answer is (A) and (B). No: the answer is (C) and (D).", "C"),
    ("letter", "Answer: K and B", None),  # the first is no option
    ("letter", "The answer is B, not C.", "B"),
    ("letter", "The correct option is most likely D", "D"),
    ("letter", "The correct option is D, since D is even", "D"),
    ("letter", "Answer: option E", "E"),
    ("letter", r"The answer is $\boxed{\text{F}}$.", "F"),
    ("letter", r"\boxed{G}", "G"),
    ("letter", "Answer: K", None),  # no such option
    ("letter", "Thus we get\n\n(H)", "H"),
    ("letter", "B. Paris", "B"),
    ("letter", "A. Rome\nB. Paris\nC. Berlin", None),
    ("letter", "Answer: Because of the rules", None),
    ("letter", "The answer is x = 5, that is (J).", None),
    ("letter", "Answer:\n\n**B**", "B"),
    # -- number -----------------------------------------------------------------------------
    ("number", "Answer: 12", "12"),
    ("number", "The answer is 12.", "12"),
    ("number", "The answer is 12.5.", "12.5"),
    ("number", "Answer: \u22125", "\u22125"),  # unicode minus
    ("number", "Answer: -5", "-5"),
    ("number", "Answer: $1,234.50 per year", "1,234.50"),
    ("number", "Answer: 45%", "45%"),
    ("number", r"Answer: 45\%", r"45\%"),
    ("number", "Answer: 3/4 of the cake", "3/4"),
    ("number", r"so \boxed{\frac{3}{4}}", r"\frac{3}{4}"),
    ("number", "Answer: 3 + 4 = 7", "7"),
    ("number", "Answer: x = -2", "-2"),
    ("number", "The answer is 12 (as x=3, y=9).", "12"),
    ("number", "The answer is 5 minutes, not 300 seconds.", "5"),
    ("number", "The answer is not 12. It is 13 apples", "13"),
    ("number", "Answer: 3\nLet me check.\nAnswer: 4", "4"),
    ("number", "He pays 3 dollars and 5 dollars.\n#### 8", "8"),
    ("number", "10 - 3 leaves 7", "7"),
    ("number", "pages 3-5", "5"),
    ("number", "2 apples and 3 pears make 5 pieces of fruit", "5"),
    ("number", "Answer: 1.5e3", "1.5e3"),
    ("number", r"Answer: 2 \times 10^5 m", r"2 \times 10^5"),
    ("number", "Answer: **42** km", "42"),
    ("number", "Answer (in km): 42", "42"),
    ("number", "ANSWER: 6", "6"),
    ("number", "Final answer: 6 kg.", "6"),
    ("number", "The answer to the second question is 9.", "9"),
    ("number", "The answer is:\n\n\\[\n12\n\\]", "12"),
    ("number", "Answer: 5\nAnswer:", "5"),  # cut off: an anchor with nothing behind it
    ("number", "Answer: 42\nTable No: 5", "42"),
    ("number", "Answer: 42\nNo. of steps: 3", "42"),
    ("number", "Answer: 42. Actually the check gave 3.", "42"),
    ("number", "Answer: 41. No, make that 42.", "42"),
    ("number", "no number here", None),
    ("number", "Water is H2O", None),
    # -- exact ------------------------------------------------------------------------------
    ("exact", "Step 1.\nAnswer: red fox.", "red fox"),
    ("exact", 'Answer: "red fox"', "red fox"),
    ("exact", "**Answer:** `abc`", "abc"),
    ("exact", "**Answer: abc**", "abc"),
    ("exact", "Answer: [1, 2, 3]", "[1, 2, 3]"),
    ("exact", "Answer: no\nWait.\nAnswer: yes", "yes"),
    ("exact", "The answer is **Paris**, the capital.", "Paris"),
    ("exact", "The answer is Paris. It lies on the Seine.", "Paris"),
    ("exact", "I add 2 and 2.\n4", "4"),
    ("exact", "True", "True"),
    ("exact", "Answer: U.S.A.", "U.S.A."),
    ("exact", "Answer:\n1 2\n3 4\n\nDone.", "1 2\n3 4"),
    ("exact", "Answer:\n```\n1 2\n3 4\n```\n", "1 2\n3 4"),
    ("exact", "The answer is $\\boxed{17}$.", "17"),
    ("exact", "Answer: 'a' and 'b'", "'a' and 'b'"),
    ("exact", "Answer: x...", "x..."),
    ("exact", "Answer: x = -5", "-5"),
    ("exact", "So the answer is **f = 9**.", "9"),
    ("exact", "k = 3/4", "3/4"),
    ("exact", "Answer: y = 2x + 1", "y = 2x + 1"),
    ("exact", "Answer: 3.0 + 4.0i", "3.0 + 4.0i"),
    ("exact", "Réponse ? Answer\uff1a 东京", "东京"),
]


@pytest.mark.parametrize(("kind", "response", "answer"), CASES)
def test_hard_responses(kind: str, response: str, answer: str | None) -> None:
    got = extract(response, kind)  # type: ignore[arg-type]
    assert got.answer == answer
    if answer is None:
        assert got == NO_ANSWER
    else:
        assert got.rule
        assert got.span is not None
        assert response[slice(*got.span)] == answer


def test_there_are_enough_hard_responses() -> None:
    assert len(CASES) >= 100


def test_letter_outside_the_options_is_no_answer() -> None:
    assert extract("Answer: E", "letter", options="ABCD").answer is None
    assert extract("Answer: E", "letter", options=["A", "E"]).answer == "E"


def test_answer_before_the_end_of_thinking_never_counts_for_any_kind() -> None:
    for kind in ("boxed", "letter", "number", "exact"):
        response = "<think>\nThe answer is \\boxed{B}. Answer: 7\n</think>\n"
        assert extract(response, kind) == NO_ANSWER  # type: ignore[arg-type]


def test_rules_are_named() -> None:
    rules = {
        extract(r"\boxed{1}", "boxed").rule,
        extract("Answer: 1", "number").rule,
        extract("the answer is 1", "number").rule,
        extract("#### 1", "number").rule,
        extract("1", "number").rule,
        extract("1", "exact").rule,
    }
    expected = {"boxed", "answer_colon", "answer_is", "hashes", "last_number", "last_line"}
    assert rules == expected


@pytest.mark.parametrize(
    ("response", "rule"),
    [
        ("The answer is (A) and (B).", "answer_is_first_of_several"),
        ("Answer: A, C", "answer_colon_first_of_several"),
        ("The best option is A/B", "option_is_first_of_several"),
        (r"\boxed{A or B}", "boxed_first_of_several"),
        ("The answer is (A) and (B). So the answer is (A).", "answer_is"),
        ("Answer: A and I am sure of it.", "answer_colon"),
        ("Answer: A", "answer_colon"),
    ],
)
def test_the_rule_tells_a_letter_that_was_the_first_of_several(response: str, rule: str) -> None:
    assert extract(response, "letter")[:2] == ("A", rule)


PIECES = (
    *("<think>", "</think>", "\\boxed{", "}", "Answer: ", "the answer is ", "####", "<answer>"),
    *("</answer>", "B", "(C)", "a ", "5", "1,234", "1 1/2", "½", "10^5", "=", " or ", "\n", ". "),
    *("**", "$", "`", "Wait, no: ", "Sorry, I mean ", "option D is correct", "x = ", "-", "\u2212"),
)
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map("".join)
KINDS = ("boxed", "letter", "number", "exact")


@given(TEXTS, st.sampled_from(KINDS))
def test_the_span_is_the_answer(response: str, kind: str) -> None:
    found = extract(response, kind)  # type: ignore[arg-type]
    if found.answer is None:
        assert found == NO_ANSWER
        return
    assert found.rule
    assert found.span is not None
    assert response[slice(*found.span)] == found.answer
    assert found.answer.strip()


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(KINDS))
def test_nothing_before_the_last_end_of_thinking_is_read(
    first: str, second: str, behind: str, kind: str
) -> None:
    """The same answer, whatever was thought, and never a place inside it."""
    behind = behind.replace("</think>", "")
    found = [extract(f"{text}</think>{behind}", kind) for text in (first, second)]  # type: ignore[arg-type]
    assert found[0].answer == found[1].answer
    assert found[0].rule == found[1].rule
    for text, one in zip((first, second), found, strict=True):
        assert one.span is None or one.span[0] >= len(text) + len("</think>")


@pytest.mark.skipif(not MIP.is_dir(), reason="../shared/data/mip_overthinking is not here")
@pytest.mark.parametrize(
    ("teacher", "share"), [("QwQ", 0.97), ("deepseekR1", 0.95), ("s1.1", 0.95)]
)
def test_reads_the_numbers_of_real_reasoning_models(teacher: str, share: float) -> None:
    """On GSM8K these teachers are right about 96 times in 100; what is misread comes off that."""
    lines = (SHARED / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").strip().split("\n")
    gold = {r["question"].strip(): r["answer"].split("#### ")[1] for r in map(json.loads, lines)}
    rows = json.loads((MIP / teacher / "response.json").read_text(encoding="utf-8"))
    right = 0
    for row in rows:
        response = next(v for k, v in row.items() if k in REPLY_KEYS)
        answer = extract(response, "number").answer
        right += answer is not None and number_equal(gold[row["question"].strip()], answer)
    assert right / len(rows) >= share
