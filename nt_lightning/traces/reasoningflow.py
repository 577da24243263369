"""Traces annotated step by step, as ReasoningFlow has them: labels to reasoning strategies.

A row is a ``response`` cut into ``nodes``, and ``edges`` from a node to a later one that say what
the later one does with it: ``plan:backtrack``, ``reflect:uncertain``. The annotators are people
and language models, so labels are messy. NaturalThoughts leaves open which names count as
strategies and how steps are counted; what counts here is our choice:

* A strategy is the label of an edge that ends in the reasoning. ``FLOW`` is none: those three
  labels stand in 98 % of the annotated traces and say no more than that the reasoning goes on.
* Names are in lower case, with hyphens, and keep their family (``reflect:positive``). Those out
  of ``STRATEGIES`` are kept, and reported; a label without a family is left out, and reported.
* A step is a node of the reasoning, however short, except for a bare think tag.
* Without a think block the response is a chain of thought as a whole: it is the answer, its
  ``reasoning`` is empty, and its strategies and steps are counted in all of it.

Source: ReasoningFlow (github.com/jinulee-v/reasoningflow), its data and labels.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from nt_lightning.traces.columns import not_of
from nt_lightning.traces.shapes import BadRowError, Row, split, text

log = logging.getLogger(__name__)
STRATEGIES = frozenset(
    {
        "plan:decompose",
        "plan:verify",
        "plan:backtrack",
        "reflect:uncertain",
        "reflect:positive",
        "reflect:negative",
        "validate:support",
        "validate:attack",
        "reason:restate",
        "reason:exemplify",
        "reason:elaborate-fact",
    }
)
FLOW = frozenset({"reason:infer", "reason:execute", "plan:proceed"})
FAMILIES = {"reasoning": "reason"}  # other spellings of a family (41 edges of 61,660)
# Teachers that always think: without an end of thinking, theirs is a cut-off response or an error.
THINKERS = frozenset({"deepseek-r1", "qwq-32b", "gpt-oss-120b"})
_ADAPTED = ("_path", "doc_id", "edges", "metadata", "nodes", "response")


class Labels:
    """Edges of one file whose label is out of the vocabulary."""

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def report(self, path: Path) -> None:
        """Log them, if there are any."""
        if self.kept or self.left_out:
            log.warning(
                "%s: edges with labels out of the vocabulary: kept as strategies: %s; "
                "left out, since no family is named: %s",
                path,
                _listed(self.kept),
                _listed(self.left_out),
            )


def is_annotated(row: Row) -> bool:
    """Whether a row has the keys of an annotated trace."""
    return {"response", "nodes", "edges"} <= row.keys()


def from_annotations(row: Row, labels: Labels) -> Row:
    """An annotated trace; ``annotation`` tells who annotated it (a person, or which model).

    Args:
        row: With ``question``, ``response``, ``nodes`` and ``edges``; ``metadata``, ``doc_id``
            and ``_path`` are used where they are there, and other keys are kept.
        labels: Counts labels that are out of the vocabulary.

    Raises:
        BadRowError: The response was cut off, or a node or an edge is not of its form.
    """
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadRowError(f"column 'metadata': {not_of('an object', metadata)}")
    reasoning, answer = split(text(row, "response"), "response")
    teacher = metadata.get("generator")
    if not reasoning and str(teacher).lower() in THINKERS:
        raise BadRowError(
            f"column 'response': has no end of thinking, but {teacher} thinks (a cut-off response?)"
        )
    steps = _steps(row, reasoning)
    path = PurePosixPath(text(row, "_path")) if "_path" in row else None
    found = {
        # the same response is there once for each of its annotations
        "id": f"{path.parent.name}/{path.stem}" if path else row.get("doc_id"),
        "teacher": teacher,
        "reasoning": reasoning,
        "answer": answer,
        "reference_answer": metadata.get("correct_answer") or None,
        "source": metadata.get("domain"),
        "domain": metadata.get("topic"),
        "correct": metadata.get("correctness"),
        "annotation": path.parent.name if path else metadata.get("annotator"),
        "reasoning_strategies": _strategies(row, steps, labels),
        "num_steps": len(steps),
    }
    rest = {key: value for key, value in row.items() if key not in _ADAPTED}
    return rest | {key: value for key, value in found.items() if value is not None}


def _steps(row: Row, reasoning: str) -> set[str]:
    """Ids of the nodes that hold a part of the reasoning; without any, of the whole response."""
    begin = row["response"].index(reasoning)
    end = begin + len(reasoning) if reasoning else len(row["response"])
    steps = set()
    for node in _objects(row, "nodes"):
        start, stop = node.get("start"), node.get("end")
        if type(start) is not int or type(stop) is not int:
            raise BadRowError(f"column 'nodes': {not_of('a node with whole start and end', node)}")
        if node.get("source") == "response" and max(start, begin) < min(stop, end):
            steps.add(text(node, "id"))
    return steps


def _strategies(row: Row, steps: set[str], labels: Labels) -> list[str]:
    """Different strategies of the edges that end in a step, in alphabetical order."""
    names = set()
    for edge in _objects(row, "edges"):
        if text(edge, "dest_node_id") not in steps:
            continue
        name = _normalised(edge.get("label"))
        if name in FLOW:
            continue
        if not all(name.partition(":")):
            labels.left_out[name] += 1
            continue
        if name not in STRATEGIES:
            labels.kept[name] += 1
        names.add(name)
    return sorted(names)


def _normalised(label: Any) -> str:
    """``family:name`` in lower case, with hyphens for blanks and underscores."""
    plain = label.lower().replace("_", " ") if isinstance(label, str) else ""
    family, colon, name = ("-".join(part.split()) for part in plain.partition(":"))
    return f"{FAMILIES.get(family, family)}:{name}" if colon else family


def _objects(row: Row, key: str) -> list[dict[str, Any]]:
    found = row[key]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadRowError(f"column {key!r}: {not_of('a list of objects', found)}")
    return found


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name!r} {count}" for name, count in counts.most_common()) or "none"
