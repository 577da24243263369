"""Budget forcing against responses that are written down."""

from __future__ import annotations

from typing import Any

import pytest

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Limits, Prompt, Sampling
from nt_lightning.evaluation.forcing import BudgetForcing, respond
from tests.unit.evaluation.scripted_engine import ScriptedEngine

SAMPLING = Sampling(max_new_tokens=200, temperature=0.0, top_p=1.0, seed=0)


def ask(engine: ScriptedEngine, begun: str, forcing: BudgetForcing | None, **changes: Any) -> Any:
    prompt = Prompt("p", tuple(engine.encode("Q:" + begun)), "Q:", begun)
    told: list[tuple[int, Any]] = []
    sampling = changes.pop("sampling", SAMPLING)
    (response,) = respond(
        engine,
        [prompt],
        sampling,
        forcing,
        Limits(),
        lambda index, one: told.append((index, one)),
        lambda count: None,
    )
    assert told == [(0, response)]
    return response


def thinker(begun: str) -> str:
    """Thinks for 60 letters, then answers; goes on wherever it stands."""
    thought = "<think>" + "x" * 60
    if "</think>" in begun:
        answer = "Answer: 7"
        said = begun.partition("</think>")[2].lstrip()
        return answer[len(said) :]
    if "Wait" in begun:
        return ", y</think>\n\nAnswer: 8"
    return (thought + "</think>\n\nAnswer: 7")[len(begun) :]


def test_a_thought_is_closed_at_the_cap() -> None:
    engine = ScriptedEngine(thinker)
    response = ask(engine, "<think>", BudgetForcing(max_thinking_tokens=10))
    assert response.text == "<think>" + "x" * 10 + "\n</think>\n\nAnswer: 7"
    assert response.finish_reason == "stop"
    assert response.num_tokens == 10 + len("\n</think>\n\n") + len("Answer: 7") + 1
    assert [prompt.max_new_tokens for call in engine.calls for prompt in call] == [10, 179]
    assert [prompt.key for call in engine.calls for prompt in call] == ["p", "p/1"]


def test_a_thought_within_the_cap_is_left_alone() -> None:
    plain = ask(ScriptedEngine(thinker), "<think>", None)
    forced = ask(ScriptedEngine(thinker), "<think>", BudgetForcing(max_thinking_tokens=100))
    assert (forced.text, forced.num_tokens) == (plain.text, plain.num_tokens)
    assert plain.text == "<think>" + "x" * 60 + "</think>\n\nAnswer: 7"


def test_a_student_that_opens_the_block_itself_is_closed_too() -> None:
    """Adaptive has no prefix; the cap counts what was generated, the tag included."""
    response = ask(ScriptedEngine(thinker), "", BudgetForcing(max_thinking_tokens=17))
    assert response.text == "<think>" + "x" * 10 + "\n</think>\n\nAnswer: 7"


def test_an_answer_without_thinking_goes_on_behind_the_cap() -> None:
    engine = ScriptedEngine(lambda begun: ("a long answer " * 3 + "7")[len(begun) :])
    response = ask(engine, "", BudgetForcing(max_thinking_tokens=8))
    assert response.text == "a long answer " * 3 + "7"
    assert response.num_tokens == len(response.text) + 1


def test_an_answer_cut_at_the_cap_goes_on() -> None:
    """The thought ends at 60 + 8 letters, the cap lies within the answer."""
    response = ask(ScriptedEngine(thinker), "<think>", BudgetForcing(max_thinking_tokens=74))
    assert response.text == "<think>" + "x" * 60 + "</think>\n\nAnswer: 7"


def test_an_end_of_thinking_is_taken_back() -> None:
    engine = ScriptedEngine(thinker)
    response = ask(engine, "<think>", BudgetForcing(num_waits=1))
    assert response.text == "<think>" + "x" * 60 + "Wait, y</think>\n\nAnswer: 8"
    assert response.num_tokens == len(response.text) - len("<think>") + 1


def test_two_waits() -> None:
    response = ask(ScriptedEngine(thinker), "<think>", BudgetForcing(num_waits=2, wait="Wait"))
    assert response.text == "<think>" + "x" * 60 + "Wait, yWait, y</think>\n\nAnswer: 8"


def test_a_wait_does_not_reopen_what_was_closed_at_the_cap() -> None:
    forcing = BudgetForcing(max_thinking_tokens=10, num_waits=3)
    response = ask(ScriptedEngine(thinker), "<think>", forcing)
    assert response.text == "<think>" + "x" * 10 + "\n</think>\n\nAnswer: 7"


def test_all_rounds_together_keep_to_the_limit() -> None:
    sampling = Sampling(max_new_tokens=25, temperature=0.0, top_p=1.0, seed=0)
    response = ask(
        ScriptedEngine(thinker), "<think>", BudgetForcing(max_thinking_tokens=10), sampling=sampling
    )
    assert response.text == "<think>" + "x" * 10 + "\n</think>\n\nAnsw"
    assert (response.finish_reason, response.num_tokens) == ("length", 25)


def test_a_stop_within_the_thought_is_an_end_of_thinking() -> None:
    engine = ScriptedEngine(
        lambda begun: "Wait, so 7.</think>\n\n7"[4:] if "Wait" in begun else " hm"
    )
    response = ask(engine, "<think>", BudgetForcing(num_waits=1))
    assert response.text == "<think> hmWait, so 7.</think>\n\n7"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give max_thinking_tokens, num_waits or both"),
        ({"max_thinking_tokens": 0}, "max_thinking_tokens is 0"),
        ({"num_waits": -1}, "num_waits is -1"),
        ({"num_waits": 1, "wait": ""}, "wait is empty"),
    ],
)
def test_rules_that_force_nothing(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BudgetForcing(**values)
