"""What a reader of naturalness scores has to be warned of, as a code and a sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.teacher_ranking import TeacherRanking, pearson, spearman, within_groups
from nt_lightning.traces.scores import same_student, same_weights

FEW_PROMPTS = 50  # our choice
CONFOUNDED = 0.3  # a "medium" correlation by Cohen's convention; our choice
# Families by the end of a name: models of the same weights, or trained on the other's responses.
# A small table of what names say for certain (our choice); what is not in it gives no warning.
FAMILIES = {
    "Qwen": r"qwen|qwq|qvq|openthinker|sky-t1|^s1(\.1)?-",
    "Llama": r"llama",
    "Gemma": r"gemma",
    "Mistral": r"mistral|mixtral|ministral|magistral|codestral|devstral",
    "Phi": r"(^|[^a-z])phi-?\d",
    "DeepSeek": r"deepseek",
    "SmolLM": r"smollm",
    "OLMo": r"olmo",
    "Granite": r"granite",
    "GLM": r"(^|[^a-z])(chat)?glm-?\d",
}


class Warned(NamedTuple):
    """A warning: what it is called by programs and what it says to a reader."""

    code: str
    text: str


def families_of(name: str) -> set[str]:
    """Families that a model's name tells of: of ``DeepSeek-R1-Distill-Qwen-7B`` two.

    Args:
        name: Hub id, folder or plain name; its last part counts.
    """
    last = name.rstrip("/").rpartition("/")[2].lower()
    return {family for family, pattern in FAMILIES.items() if re.search(pattern, last)}


def another_student(info: Mapping[str, Any], trained: str) -> Iterator[Warned]:
    """Scores by a student that is not the one to be trained, or not with its weights of today.

    Args:
        info: That of the scores.
        trained: The student's name.
    """
    scored_by = info["model_name"]
    if not same_student(scored_by, trained):
        yield Warned(
            "another_student",
            f"the scores are by {scored_by!r} and the student is {trained!r}: what one finds "
            "natural the other may not",
        )
    elif not same_weights(info, trained):
        yield Warned(
            "other_weights",
            f"the scores are from before the weights of {trained!r} changed: what those found "
            "natural these may not",
        )


def same_family(student: str, teachers: Sequence[str], model_type: str = "") -> Iterator[Warned]:
    """Teachers of the student's family, whose responses it finds natural in any case.

    Args:
        student: Its name.
        teachers: Their names.
        model_type: The student's architecture, which counts where its name tells of no family (our
            choice): many families are of another one's architecture.
    """
    own = families_of(student) or families_of(model_type)
    for teacher in teachers:
        if shared := own & families_of(teacher):
            names = " and ".join(sorted(shared))
            yield Warned(
                "same_family",
                f"teacher {teacher!r} and student {student!r} are both of the family {names}: "
                "a student finds its own family's responses more natural",
            )


class StepLength(NamedTuple):
    """Rank correlation of a score and mean tokens per step; ``None`` where there is none.

    Args:
        across: Spearman's over all responses.
        within: Of ranks within each teacher: what does not come from the teachers' habits.
    """

    across: float | None
    within: float | None


def step_length_correlation(better: Floats, step_tokens: Floats, teachers: Ints) -> StepLength:
    """How much a score is one of step length.

    Args:
        better: Score of each response, [N]; higher is better.
        step_tokens: Mean tokens per step of each, [N].
        teachers: Number of each one's teacher, [N].

    Source: the confounding, arXiv:2604.06834; the two correlations are our choice.
    """
    known = np.isfinite(better) & np.isfinite(step_tokens)
    parts = [within_groups(part[known], teachers[known]) for part in (better, step_tokens)]
    return StepLength(spearman(better, step_tokens), pearson(*parts))


def confounded(score: str, found: StepLength) -> Iterator[Warned]:
    """A score that goes with the length of the steps."""
    strong = [
        f"{value:+.2f} {where}"
        for value, where in (
            (found.across, "over all responses"),
            (found.within, "within teachers"),
        )
        if value is not None and abs(value) >= CONFOUNDED
    ]
    if strong:
        yield Warned(
            "step_length",
            f"{score} goes with the tokens per step: rank correlation {', '.join(strong)} "
            f"({CONFOUNDED} and more is warned of): it may choose a way of cutting steps rather "
            "than of reasoning",
        )


def uncertain(score: str, found: TeacherRanking, names: Sequence[str]) -> Iterator[Warned]:
    """One teacher, too few questions, or a best teacher that may be no better than the second."""
    if found.gap is None:
        yield Warned("one_teacher", f"{names[0]!r} is the only teacher: none was chosen")
    if found.num_prompts < FEW_PROMPTS:
        yield Warned(
            "few_prompts",
            f"questions with {score} for all teachers: {found.num_prompts}; under "
            f"{FEW_PROMPTS} a ranking says little",
        )
    if found.gap is not None and found.gap.low <= 0 <= found.gap.high:
        first, second = (names[teacher] for teacher in found.order[:2])
        yield Warned(
            "no_clear_best",
            f"{first!r} is not clearly better than {second!r} by {score}: the 95 % interval of "
            f"their difference, {found.gap.low:.4g} to {found.gap.high:.4g}, has 0 in it",
        )
