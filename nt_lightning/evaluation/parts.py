"""Responses of several ranks as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nt_lightning.evaluation.results import Sample, read_samples, samples_path, write_samples


def part_path(run: Path, stage: str, benchmark: str, mode: str, rank: int) -> Path:
    """Where a rank's own responses wait for the others'; a name that no reader looks for."""
    whole = samples_path(run, stage, benchmark, mode)
    return whole.with_name(f".{whole.stem}-{rank:05d}.part")


def write_part(path: Path, samples: Sequence[Sample]) -> None:
    """Write a rank's own responses; none is an empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_samples(path, samples)


def merge_parts(whole: Path, parts: Sequence[Path], problem_ids: Sequence[str]) -> None:
    """Put the ranks' responses together, in the order of problems and repeats.

    Args:
        whole: The file of all responses.
        parts: The ranks' files, which are removed.
        problem_ids: All problems that were asked, in their order.
    """
    place = {name: index for index, name in enumerate(problem_ids)}
    samples = [sample for part in parts for sample in read_samples(part)]
    write_samples(whole, sorted(samples, key=lambda one: (place[one.problem_id], one.repeat)))
    for part in parts:
        part.unlink()
