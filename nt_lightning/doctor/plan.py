"""The plan, the loader and the masks: counted over the whole data set, exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nt_lightning.data.assemble import open_pool
from nt_lightning.data.batch import IGNORE_INDEX, PackedBatch, PackedTraces
from nt_lightning.data.certificate import failures
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.loader import PlanSampler, ResumableLoader
from nt_lightning.doctor.finding import Finding
from nt_lightning.doctor.subject import Subject
from nt_lightning.evaluation.progress import progress_bar

RESUMED_STEPS = 4
STOPS = 6


def plan_counts_labels(subject: Subject) -> Finding:
    """Labels and traces of every batch of an epoch, counted, against what the plan says.

    The number of steps with another number of labels, plus traces that are not there once, plus
    rows longer than ``max_tokens``. Allowed: 0.
    """
    data = subject.data
    plan = data.plan(0)
    labels = np.zeros(plan.num_steps, dtype=np.int64)
    stated = np.zeros(plan.num_steps, dtype=np.int64)
    seen = np.zeros(len(data.traces("train")), dtype=np.int64)
    per_step = plan.micro_batches(1)
    too_long = 0
    with progress_bar("counting labels", plan.num_steps * per_step) as report:
        for index, batch in enumerate(_loader(data)):
            step = index // per_step
            labels[step] += int((batch.labels != IGNORE_INDEX).sum())
            stated[step] = batch.step_labels
            np.add.at(seen, batch.rows.numpy(), 1)
            too_long += batch.input_ids.shape[1] > plan.max_tokens
            report(index)
    wrong = int((labels != stated).sum() + (labels != plan.labels_per_step).sum())
    wrong += int((seen != 1).sum()) + too_long
    detail = f"{plan.num_steps} steps, {int(labels.sum())} labels, {len(seen)} traces counted"
    return Finding(wrong, 0, detail)


def masks_are_right(subject: Subject) -> Finding:
    """The mask certificate of the whole data set, made anew.

    The number of traces that fail, each as often as the checks that it fails. Allowed: 0.
    """
    data = subject.data
    certificate = data.certify(open_pool(data.pool_source), data.folder, data.info)
    failed = sum(check["failed"] for check in certificate["checks"].values())
    total = sum(split["traces"] for split in certificate["splits"].values())
    detail = failures(certificate) or f"{total} traces, {len(certificate['checks'])} checks each"
    return Finding(failed, 0, detail)


def resume_keeps_order(subject: Subject) -> Finding:
    """Ids of a loader that is stopped and restored against those of one that is not.

    The first steps of two epochs, stopped at several micro-batches, those of one rank and those
    of the second of two. The number of micro-batches with other traces. Allowed: 0.
    """
    wrong = compared = 0
    for rank, world_size in ((0, 1), (1, 2)):
        undisturbed = _loader(subject.data, rank, world_size, RESUMED_STEPS)
        per_epoch = len(undisturbed.plan_sampler)
        wanted = list(_two_epochs(undisturbed))
        for stop in np.unique(np.linspace(1, per_epoch, STOPS).astype(int)).tolist():
            stopped = _loader(subject.data, rank, world_size, RESUMED_STEPS)
            for _, _ in zip(range(stop), stopped):  # noqa: B905  (it is to stop early)
                state = stopped.state_dict()
            restored = _loader(subject.data, rank, world_size, RESUMED_STEPS)
            restored.load_state_dict(state)
            found = list(_two_epochs(restored))
            left = wanted[stop:]
            wrong += sum(ours != theirs for ours, theirs in zip(found, left, strict=False))
            wrong += abs(len(found) - len(left))
            compared += len(left)
    return Finding(wrong, 0, f"{compared} micro-batches behind {STOPS} stops, 1 and 2 ranks")


def _two_epochs(loader: ResumableLoader) -> Iterator[list[int]]:
    """Rows of each micro-batch to the end of the second epoch, as Lightning's loop has them."""
    for epoch in range(loader.plan_sampler.epoch, 2):
        loader.plan_sampler.set_epoch(epoch)
        for batch in loader:
            yield _rows(batch)


def _rows(batch: PackedBatch) -> list[int]:
    return batch.rows.tolist()


def _loader(
    data: TraceDataModule, rank: int = 0, world_size: int = 1, max_steps: int | None = None
) -> ResumableLoader:
    sampler = PlanSampler(data.plan, rank, world_size, max_steps)
    traces = PackedTraces(data.traces("train"), data.teacher_names)
    return ResumableLoader(traces, sampler, data.num_workers, pin_memory=False)
