"""Rows of public sets to rows of the record, as their data cards publish them.

Sources: facebook/natural_reasoning, open-thoughts/OpenThoughts-114k, open-r1/OpenR1-Math-220k,
simplescaling/s1K-1.1, GAIR/LIMO and LIMO-v2, openai/gsm8k, HuggingFaceH4/MATH-500 and aime_2024,
and github.com/tianyi-lab/MiP-Overthinking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nt_lightning.traces.columns import not_of
from nt_lightning.traces.shapes import (
    BadRowError,
    Candidate,
    DroppedRowError,
    Row,
    from_conversations,
    gold,
    objects,
    part,
    text,
    with_reply,
)

R1 = "DeepSeek-R1"
UNFINISHED = "the reasoning is incomplete"
NO_FINAL_ANSWER = "the solution does not end in a final answer"
NAMELESS = "a response without text or its model's name (its question stays)"
FURTHER = "a response after the first of its question (its question stays)"
S1K_TEACHERS = {"gemini": "Gemini-2.0-Flash-Thinking", "deepseek": R1}
MIP_REPLY = "model_answer"
MIP_REPLIES = {"deepseek-reasoner (question)": R1}  # replies whose column names the teacher
_GRADES = {"yes": True, "no": False}
# How R1 and its like head what they give as the answer, at the start of a line.
_FINAL_ANSWER = re.compile(
    r"^[ \t]*(?:#+ *)?(?:\*\*)?Final Answer:?(?:\*\*)?:?", re.MULTILINE | re.I
)
_OWN_IDS = ("id", "uuid", "unique_id", "Record ID", "question_id")


def from_natural_reasoning(row: Row) -> list[Candidate]:
    """A question with the answer of Llama-3.3-70B-Instruct, the other side of "models disagree".

    The set has one response a row, of which a question holds no more; further ones are left out.
    """
    columns = _question(row, "question") | gold(row, "reference_answer")
    left_out = []
    for response in objects(row, "responses") if row.get("responses") is not None else []:
        second = {
            name: (part(response, key, "responses") or "").strip()
            for name, key in (("second_teacher", "response_model"), ("second_answer", "response"))
        }
        if not all(second.values()):
            left_out.append(DroppedRowError(NAMELESS))
        elif "second_answer" in columns:
            left_out.append(DroppedRowError(FURTHER))
        else:
            columns |= second
    return [Candidate(columns), *(Candidate(columns, problem=problem) for problem in left_out)]


def from_openthoughts(row: Row) -> list[Candidate]:
    """The default configuration: a system prompt, which is dropped, and two turns."""
    return from_conversations(row)


def from_openthoughts_metadata(row: Row) -> list[Candidate]:
    """The configuration ``metadata``: reasoning and solution in columns of their own."""
    columns = _question(row, "problem") | gold(row, "ground_truth_solution")
    columns |= _present(row, "domain") | _source("OpenThoughts-114k", row.get("source"))
    return [_apart(columns, row, "deepseek_reasoning", "deepseek_solution")]


def from_openr1_math(row: Row) -> list[Candidate]:
    """Each generation is a trace; Math-Verify's verdict is ``correct``."""
    question = _question(row, "problem") | gold(row, "answer") | _present(row, "problem_type")
    question |= _source("OpenR1-Math-220k", row.get("source"))
    generations = [] if row["generations"] is None else row["generations"]
    if not isinstance(generations, list):
        raise BadRowError(f"column 'generations': {not_of('a list of texts', generations)}")
    reasons = _aligned(row, "finish_reasons", generations)
    complete = _aligned(row, "is_reasoning_complete", generations)
    verdicts = _aligned(row, "correctness_math_verify", generations)
    found = []
    for number, reply in enumerate(generations):
        columns = question | {"sample": number}
        columns |= _present({"finish_reason": reasons[number]}, "finish_reason")
        columns |= _verdict(verdicts[number], "OpenR1-Math-220k: Math-Verify")
        candidate = with_reply(columns, reply, "generations")
        if complete[number] is False:
            candidate = candidate._replace(problem=DroppedRowError(UNFINISHED))
        found.append(candidate)
    return found


def from_s1k(row: Row) -> list[Candidate]:
    """The attempts of Gemini and of DeepSeek-R1 at one question, with their grades."""
    question = _question(row, "question") | gold(row, "solution")
    question |= _source("s1K-1.1", row.get("source_type"))
    found = []
    there = [name for name in S1K_TEACHERS if any(key.startswith(f"{name}_") for key in row)]
    for name in there or S1K_TEACHERS:
        teacher, thought = S1K_TEACHERS[name], f"{name}_thinking_trajectory"
        attempt = f"{name}_attempt"
        require(row, (thought, attempt), "the format s1k")
        grade = str(row.get(f"{name}_grade") or "").strip().lower()
        columns = question | {"teacher": teacher}
        columns |= _verdict(_GRADES.get(grade), "s1K-1.1: its grader")
        found.append(_apart(columns, row, thought, attempt))
    return found


def from_limo(row: Row) -> list[Candidate]:
    """A solution that thinks without tags: its end is the answer, all before it the reasoning.

    The answer begins at the last heading ``Final Answer``, or else is the last paragraph if that
    has a box (our choice, since the set does not mark it).
    """
    columns = _question(row, "question") | gold(row, "answer")
    candidate = with_reply(columns, row["solution"], "solution")
    if candidate.problem or candidate.thinks or not candidate.columns["answer"]:
        return [candidate]
    solution = candidate.columns["answer"]
    cut = max(
        (found.start() for found in _FINAL_ANSWER.finditer(solution) if solution[found.end() :]),
        default=solution.rfind("\n\n"),
    )
    reasoning, answer = solution[: max(cut, 0)].strip(), solution[max(cut, 0) :].strip()
    if not reasoning or ("\\boxed" not in answer and not _FINAL_ANSWER.match(answer)):
        return [candidate._replace(problem=DroppedRowError(NO_FINAL_ANSWER))]
    return [Candidate(columns | {"reasoning": reasoning, "answer": answer}, thinks=True)]


def from_gsm8k(row: Row) -> list[Candidate]:
    """A question and what stands behind ``####`` in its solution, thousands commas and all."""
    behind = after_hashes(text(row, "answer"))
    if not behind:
        raise BadRowError(
            "column 'answer': has no line '#### <gold answer>' as GSM8K has; a teacher's answer "
            "needs columns teacher and reasoning, a gold answer is called reference_answer"
        )
    return [Candidate(_question(row, "question") | {"reference_answer": behind})]


def from_math(row: Row) -> list[Candidate]:
    """A problem and its final answer, as MATH-500 and AIME have them; the solution is not read."""
    name = "problem" if "problem" in row else "question"
    columns = _question(row, name) | gold(row, "answer")
    return [Candidate(columns | _present(row, "subject") | _present(row, "level"))]


def from_mip_overthinking(row: Row) -> list[Candidate]:
    """A reply to a question of GSM8K; the gold answer stands behind ``####``."""
    name = next((key for key in MIP_REPLIES if key in row), MIP_REPLY)
    require(row, (name,), "the format mip_overthinking")
    columns = _question(row, "question") | gold(row, "answer")
    if isinstance(row["answer"], str) and (behind := after_hashes(row["answer"])):
        columns["reference_answer"] = behind
    if name in MIP_REPLIES:
        columns["teacher"] = MIP_REPLIES[name]
    return [with_reply(columns, row[name], name)]


def require(row: Row, names: tuple[str, ...], shape: str) -> None:
    """The row is bad where it lacks a column of its shape; the message has those it has."""
    missing = [name for name in names if name not in row]
    if missing:
        raise BadRowError(
            f"column {missing[0]!r}: is missing; {shape} needs: {', '.join(names)}; "
            f"found: {', '.join(row)}"
        )


def after_hashes(solution: str) -> str:
    """The gold answer behind the last ``####`` of a GSM8K solution, or nothing."""
    return solution.rpartition("####")[2].strip() if "####" in solution else ""


def _question(row: Row, name: str) -> Row:
    """The question, and the set's own id where there is one."""
    own = next((row[key] for key in _OWN_IDS if row.get(key) not in (None, "")), None)
    return {"question": text(row, name)} | ({} if own is None else {"id": own})


def _source(name: str, own: object) -> Row:
    """``set/source`` where the set says where a question comes from."""
    return {"source": f"{name}/{own}"} if own else {}


def _present(row: Mapping[str, Any], name: str) -> Row:
    return {name: row[name]} if row.get(name) is not None else {}


def _verdict(correct: object, by: str) -> Row:
    return {} if correct is None else {"correct": correct, "verified_by": by}


def _apart(columns: Row, row: Row, thought: str, answer: str) -> Candidate:
    """A reply whose reasoning and answer stand in two columns, either of which may be null."""
    reasoning, reply = (
        text(row, key).strip() if row[key] is not None else "" for key in (thought, answer)
    )
    return Candidate(columns | {"reasoning": reasoning, "answer": reply}, thinks=bool(reasoning))


def _aligned(row: Row, name: str, generations: list[Any]) -> list[Any]:
    """A list with one value for each generation; nulls where the set has none."""
    values = row.get(name) or [None] * len(generations)
    if not isinstance(values, list) or len(values) != len(generations):
        raise BadRowError(f"column {name!r}: {not_of(f'a list of {len(generations)}', values)}")
    return values
