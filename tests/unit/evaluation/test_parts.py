"""Responses of several ranks as one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nt_lightning.evaluation.parts import merge_parts, part_path, write_part
from nt_lightning.evaluation.results import read_samples, samples_path
from nt_lightning.report.samples_data import stored_responses
from tests.unit.evaluation.test_results import SAMPLE


def test_parts_become_one_file_in_the_order_of_the_problems(tmp_path: Path) -> None:
    labels = (tmp_path, "after", "sums", "think")
    parts = [part_path(*labels, rank) for rank in range(3)]
    own = {name: replace(SAMPLE, problem_id=name) for name in "abc"}
    write_part(parts[0], [replace(own["a"], repeat=1), own["a"], own["c"]])
    write_part(parts[1], [own["b"]])
    write_part(parts[2], [])
    merge_parts(samples_path(*labels), parts, ["c", "a", "b"])
    samples = read_samples(samples_path(*labels))
    assert [(one.problem_id, one.repeat) for one in samples] == [
        ("c", 0), ("a", 0), ("a", 1), ("b", 0)
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "evaluation" / "after").iterdir()] == [
        "sums-think.jsonl"
    ]


def test_a_part_that_a_kill_has_left_is_no_file_of_responses(tmp_path: Path) -> None:
    labels = (tmp_path, "after", "sums", "think")
    write_part(part_path(*labels, 0), [SAMPLE])
    write_part(part_path(*labels, 1), [SAMPLE])
    merge_parts(samples_path(*labels), [part_path(*labels, 0)], ["a"])
    assert len(stored_responses(tmp_path)) == 1
