"""Budget forcing against responses that are written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.forcing import BudgetForcing, respond
from nt_lightning.evaluation.generation import Generation
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.traces.formatting import PromptFormatter
from tests.tiny import CHATML, SPECIAL_TOKENS, TEXTS, save_tiny_student, tiny_tokenizer
from tests.unit.evaluation.scripted_engine import ScriptedEngine

SAMPLING = Sampling(max_new_tokens=200, temperature=0.0, top_p=1.0, seed=0)
CLOSE = "\n</think>\n\n"


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
    ("forcing", "thought"),
    [
        (BudgetForcing(max_thinking_tokens=100), " hm"),
        (BudgetForcing(num_waits=1), " hmWait, hm"),
        (BudgetForcing(max_thinking_tokens=100, num_waits=2), " hmWait, hmWait, hm"),
    ],
)
@pytest.mark.parametrize("begun", ["<think>", ""])
def test_a_student_that_stops_within_its_thought_answers(
    forcing: BudgetForcing, thought: str, begun: str
) -> None:
    def says(begun: str) -> str:
        if "</think>" in begun:
            return "Answer: 7"
        if begun.endswith("Wait"):
            return ", hm"
        return "<think> hm"[len(begun) :]

    engine = ScriptedEngine(says)
    response = ask(engine, begun, forcing)
    assert response.text == f"<think>{thought}{CLOSE}Answer: 7"
    assert response.finish_reason == "stop"
    # every letter behind what it is begun with is a token, and one stop token ends it
    assert response.num_tokens == len(response.text) - len(begun) + 1


def test_a_stop_within_a_thought_behind_which_nothing_fits_is_left_alone() -> None:
    sampling = replace(SAMPLING, max_new_tokens=14)  # 3 letters, 11 of the end of thinking
    forcing = BudgetForcing(max_thinking_tokens=10)
    response = ask(ScriptedEngine(lambda begun: " hm"), "<think>", forcing, sampling=sampling)
    assert (response.text, response.finish_reason) == ("<think> hm", "stop")
    assert response.num_tokens == 4


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


def test_a_cap_that_leaves_no_answer_is_refused() -> None:
    forcing = BudgetForcing(max_thinking_tokens=40)
    EvaluationSettings(max_new_tokens=41, forcing=forcing)
    with pytest.raises(UserError, match="max_thinking_tokens is 40 with max_new_tokens 40"):
        EvaluationSettings(max_new_tokens=40, forcing=forcing)


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "num_tokens", "answer"),
    [(50, 39, None), (51, 51, "A"), (52, 52, "An"), (61, 60, "Answer: 7")],
)
def test_nothing_is_forced_behind_which_nothing_fits(
    limit: int, num_tokens: int, answer: str | None
) -> None:
    """39 letters and the 11 of the end of thinking; then at least one more."""
    sampling = replace(SAMPLING, max_new_tokens=limit)
    forcing = BudgetForcing(max_thinking_tokens=39)
    response = ask(ScriptedEngine(thinker), "<think>", forcing, sampling=sampling)
    end = "" if answer is None else CLOSE + answer
    assert response.text == "<think>" + "x" * 39 + end
    assert response.num_tokens == num_tokens
    assert response.finish_reason == ("stop" if answer == "Answer: 7" else "length")


@pytest.mark.parametrize("cap", [34, 39])
def test_a_forced_text_at_the_limit_is_not_gone_beyond(cap: int) -> None:
    engine = ScriptedEngine(thinker)
    sampling = replace(SAMPLING, max_new_tokens=40)
    response = ask(engine, "<think>", BudgetForcing(max_thinking_tokens=cap), sampling=sampling)
    assert (response.num_tokens, response.finish_reason) == (cap, "length")
    assert len(engine.calls) == 1


def test_a_wait_that_does_not_fit_is_left_out() -> None:
    """The thought has 60 letters, the answer ends at the 80th token."""
    for limit, waits in ((81, 1), (64, 0)):
        engine = ScriptedEngine(lambda begun: ("<think>" + "x" * 60 + "</think>")[len(begun) :])
        sampling = replace(SAMPLING, max_new_tokens=limit)
        response = ask(engine, "<think>", BudgetForcing(num_waits=1), sampling=sampling)
        assert ("Wait" in response.text) == bool(waits)
        assert response.num_tokens <= limit
    sampling = replace(SAMPLING, max_new_tokens=70)
    forcing = BudgetForcing(num_waits=1, wait="Wait, let me see")  # 60 + 16 > 70
    engine = ScriptedEngine(lambda begun: ("<think>" + "x" * 60 + "</think>")[len(begun) :])
    response = ask(engine, "<think>", forcing, sampling=sampling)
    assert response.text == "<think>" + "x" * 60 + "</think>"
    assert (response.num_tokens, response.finish_reason) == (69, "stop")


@pytest.mark.parametrize("knows_context", [True, False])
def test_a_response_that_meets_the_context_is_over(knows_context: bool) -> None:
    engine = ScriptedEngine(thinker, context=len("Q:<think>") + 30)
    plain = ask(engine, "<think>", None)
    if not knows_context:  # a server whose student's context is not known
        whole = engine.context
        engine = ScriptedEngine(thinker)
        engine._response = lambda prompt, room: ScriptedEngine(thinker, whole)._response(  # type: ignore[method-assign]
            prompt, room
        )
    forced = ask(engine, "<think>", BudgetForcing(num_waits=1))
    assert forced == plain
    assert (plain.text, plain.num_tokens, plain.finish_reason) == (
        "<think>" + "x" * 30,
        30,
        "length",
    )


@pytest.mark.parametrize(("room", "num_tokens"), [(10, 10), (20, 10), (21, 10), (22, 22)])
def test_nothing_is_forced_at_the_end_of_the_context(room: int, num_tokens: int) -> None:
    engine = ScriptedEngine(thinker, context=len("Q:<think>") + room)
    response = ask(engine, "<think>", BudgetForcing(max_thinking_tokens=10))
    assert (response.num_tokens, response.finish_reason) == (num_tokens, "length")
    assert response.text == ("<think>" + "x" * 10 + CLOSE + "A")[: 7 + num_tokens]


def real(tmp_path: Path, **overrides: Any) -> StudentEngine:
    """A student with random weights that is never done."""
    folder = save_tiny_student(tmp_path / "student", **overrides)
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(folder))
    return StudentEngine(AutoModelForCausalLM.from_pretrained(folder).eval(), formatter, 2)


def ask_real(engine: StudentEngine, sampling: Sampling, forcing: BudgetForcing | None) -> Any:
    prompts = [Prompt(str(n), (5 + n,) * (47 - n), "", "<think>") for n in range(3)]
    return respond(engine, prompts, sampling, forcing, Limits(), lambda *_: None, lambda _: None)


def test_a_students_context_aborts_nothing(tmp_path: Path) -> None:
    engine = real(tmp_path, max_position_embeddings=128)
    sampling = Sampling(500, 0.0, 1.0, 0, stop_loops=False)
    plain = ask_real(engine, sampling, None)
    assert [one.num_tokens for one in plain] == [81, 82, 83]
    assert ask_real(engine, sampling, BudgetForcing(num_waits=1)) == plain
    forced = ask_real(engine, sampling, BudgetForcing(max_thinking_tokens=60))
    assert [one.num_tokens for one in forced] == [81, 82, 83]
    assert {one.finish_reason for one in plain + forced} == {"length"}
    assert all(CLOSE in one.text for one in forced)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("cap", "may_close"), [(30, {True}), (34, {True, False}), (39, {False})])
def test_a_student_keeps_to_the_limit(
    tmp_path: Path, temperature: float, cap: int, may_close: set[bool]
) -> None:
    """The end of thinking has 6 tokens; at 34 it fits where half a character is left out."""
    engine = real(tmp_path)
    assert len(engine.encode(CLOSE)) == 6
    forcing = BudgetForcing(max_thinking_tokens=cap)
    for one in ask_real(engine, Sampling(40, temperature, 1.0, 0), forcing):
        assert (CLOSE in one.text) in may_close
        assert one.num_tokens == (40 if CLOSE in one.text else cap)
        assert one.finish_reason == "length"


# -- what is told, and when ----------------------------------------------------------------------


def test_what_is_final_is_told_before_the_round_is_over() -> None:
    def says(begun: str) -> str:
        if begun == "killed":
            raise KeyboardInterrupt
        return thinker(begun) if begun.startswith("<think>") else "7"

    told: list[tuple[int, Generation]] = []
    counts: list[int] = []
    engine = ScriptedEngine(says)
    prompts = [
        Prompt(begun, tuple(engine.encode("Q:" + begun)), "Q:", begun)
        for begun in ("a", "<think>", "b", "killed")
    ]
    with pytest.raises(KeyboardInterrupt):
        respond(
            engine,
            prompts,
            SAMPLING,
            BudgetForcing(max_thinking_tokens=9),
            Limits(),
            lambda index, one: told.append((index, one)),
            counts.append,
        )
    assert [(index, one.text) for index, one in told] == [(0, "a7"), (2, "b7")]
    assert counts[-1] == 2
    assert set(counts) == {1, 2}
    assert len(engine.calls) == 1


@pytest.mark.parametrize("forcing", [None, BudgetForcing(max_thinking_tokens=3)])
def test_no_ids_are_kept(tmp_path: Path, forcing: BudgetForcing | None) -> None:
    engine = real(tmp_path)
    told: dict[int, Generation] = {}
    prompts = [Prompt(str(n), (5 + n, 6), "", "<think>") for n in range(9)]
    sampling = Sampling(20, 0.0, 1.0, 0)
    responses = respond(
        engine, prompts, sampling, forcing, Limits(), told.__setitem__, lambda _: None
    )
    assert [told[index] for index in range(9)] == responses
    assert [len(one.ids) for one in responses] == [0] * 9
    assert sum(one.num_tokens for one in responses) > 150


# -- texts across stretches ----------------------------------------------------------------------


class TokenEngine(Engine):
    """A student that says written ids, by a real tokenizer; without ``knows_ids`` as a server."""

    family = "llama"

    def __init__(
        self,
        formatter: PromptFormatter,
        says: Callable[[Prompt], list[int]],
        knows_ids: bool = True,
    ) -> None:
        self.formatter, self.says, self.knows_ids = formatter, says, knows_ids
        self.asked: list[Prompt] = []

    def about(self) -> dict[str, Any]:
        return {}

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        limits: Limits,
        on_response: OnResponse,
        on_progress: Callable[[int], None],
    ) -> list[Generation]:
        self.asked += prompts
        (prompt,) = prompts
        whole = [*self.says(prompt), self.formatter.stop_token_id]
        ids = tuple(whole[: prompt.limit(sampling)])
        reason = "stop" if len(ids) == len(whole) else "length"
        response = Generation(prompt.begun + self.decode(ids), len(ids), reason, ids)
        on_response(0, response if self.knows_ids else replace(response, ids=()))
        return [replace(response, ids=())]


def say(engine: TokenEngine, begun: str, forcing: BudgetForcing) -> Generation:
    prompt = Prompt("p", (7, 8), "", begun)
    (response,) = respond(
        engine, [prompt], SAMPLING, forcing, Limits(), lambda *_: None, lambda _: None
    )
    return response


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Words carry their blank in front, and decoding drops the first one."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL_TOKENS, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [(tiny_tokenizer, "Answer: é"), (sentencepiece_like, "I add three and four.")],
)
def test_no_seam_is_seen_in_the_text(tokenizer: Callable[[], Any], text: str) -> None:
    """The cap lies between any two tokens, also within a character or in front of a blank."""
    formatter = PromptFormatter(tokenizer())
    (ids,) = formatter.encode_texts([text])
    for cap in range(1, len(ids) + 1):
        engine = TokenEngine(formatter, lambda prompt: ids[len(prompt.ids) - 2 :])
        response = say(engine, "", BudgetForcing(max_thinking_tokens=cap))
        assert (response.text, response.num_tokens) == (text, len(ids) + 1)
        assert len(engine.asked) == 2


def test_no_seam_is_seen_in_a_servers_text() -> None:
    """Half a character is left out, and said again."""
    formatter = PromptFormatter(tiny_tokenizer())
    text = "Answer: é"

    def says(prompt: Prompt) -> list[int]:
        return formatter.encode_texts([text[len(prompt.begun) :]])[0]

    for cap in range(1, len(formatter.encode_texts([text])[0]) + 1):
        engine = TokenEngine(formatter, says, knows_ids=False)
        response = say(engine, "", BudgetForcing(max_thinking_tokens=cap))
        assert response.text == text
        assert response.num_tokens == len(engine.encode(text)) + 1


def test_no_half_character_is_left_in_front_of_a_forced_end() -> None:
    formatter = PromptFormatter(tiny_tokenizer())
    thought, answer = "é" * 10 + "</think>", "Answer: é"

    def says(prompt: Prompt) -> list[int]:
        return formatter.encode_texts([answer if "</think>" in prompt.begun else thought])[0]

    for cap, whole in ((4, "éé"), (5, "éé"), (6, "ééé")):
        engine = TokenEngine(formatter, says)
        response = say(engine, "<think>", BudgetForcing(max_thinking_tokens=cap))
        assert response.text == f"<think>{whole}{CLOSE}{answer}"
        _, second = engine.asked
        assert second.ids == (7, 8, *engine.encode(whole), *engine.encode(CLOSE))


def test_a_wait_keeps_the_ids_that_were_said() -> None:
    """Also where the tokenizer would make others of their text."""
    formatter = PromptFormatter(tiny_tokenizer())
    said = [ids[0] for ids in formatter.encode_texts(list("I add three and four"))]
    assert said != formatter.encode_texts(["I add three and four"])[0]
    (end,) = formatter.encode_texts([".\n\n</think>\n\nAnswer: 7"])
    after = formatter.encode_texts([", 7</think>Answer: 8"])[0]
    engine = TokenEngine(formatter, lambda prompt: after if "Wait" in prompt.begun else said + end)
    response = say(engine, "<think>", BudgetForcing(num_waits=1))
    assert response.text == "<think>I add three and four.Wait, 7</think>Answer: 8"
    _, second = engine.asked
    assert second.ids == (7, 8, *said, *engine.encode("."), *engine.encode("Wait"))
    assert response.num_tokens == len(second.ids) - 2 + len(after) + 1
