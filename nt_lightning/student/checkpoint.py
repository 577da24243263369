"""What a checkpoint says: its place in the training, its student and its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nt_lightning.errors import UserError


def align_to_step(checkpoint: dict[str, Any], accumulate: int, batches_per_epoch: int) -> None:
    """Put a checkpoint's place at the last whole optimizer step.

    A checkpoint written when an exception or Ctrl+C breaks into a step has counted micro-batches
    whose gradients are lost; resumed as it is, the next step would lack them. Lightning counts
    micro-batches, too, where a run goes on with another number of devices and so with another
    number of them in a step; it takes an epoch for done in which training was told to stop; and
    after a resume at an epoch's end it does not count the epoch that then begins.

    Args:
        checkpoint: What Lightning is about to save, or has read; changed in place.
        accumulate: Micro-batches of one rank in one step.
        batches_per_epoch: Micro-batches of one rank in one epoch.
    """
    fit = checkpoint["loops"]["fit_loop"]
    progress = fit["epoch_loop.batch_progress"]
    optimizer = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    done = optimizer["step"]["current"]["completed"] * accumulate
    whole = done >= batches_per_epoch
    epochs = fit["epoch_progress"]
    loaders = fit["state_dict"].get("combined_loader", [])
    for loader in loaders:  # ours know the epoch
        if loader["batches"] > 0 or whole:
            begun = loader["epoch"] + (loader["batches"] > 0)
            _set(epochs, {"ready": begun, "started": begun})
    if not whole:
        _set(epochs, dict.fromkeys(("processed", "completed"), epochs["current"]["started"] - 1))
    current = progress["current"]
    if current["processed"] == done:
        return
    # Behind a batch Lightning has counted all but its completion.
    behind_epoch = whole and epochs["current"]["processed"] == epochs["current"]["started"]
    completed = done if behind_epoch else max(done - 1, 0)
    _set(progress, {"ready": done, "started": done, "processed": done, "completed": completed})
    progress["is_last_batch"] = whole
    for loader in loaders:
        if loader["batches"] == 0:  # at the start of the next epoch already
            continue
        if whole:
            loader.update(epoch=loader["epoch"] + 1, batches=0)
        else:
            loader["batches"] = done


def _set(tracker: dict[str, Any], values: Mapping[str, int]) -> None:
    """Set a progress tracker's current counts, and move its totals along."""
    for field, value in values.items():
        surplus = tracker["current"][field] - value
        tracker["current"][field] -= surplus
        tracker["total"][field] -= surplus


def check_same_student(
    notes: Mapping[str, Any], ours: Mapping[str, Any], saved: set[str], expected: set[str]
) -> None:
    """Raise UserError where a checkpoint's weights are not this student's.

    Args:
        notes: The checkpoint's ``nt_lightning`` entry.
        ours: ``lora`` and ``quantization`` of this run.
        saved: Names of the checkpoint's weights.
        expected: Names that this run saves.
    """
    if not notes:
        raise UserError("the checkpoint was not written by nt_lightning")
    for name, value in ours.items():
        if notes[name] != value:
            raise UserError(
                f"the checkpoint was trained with model.{name} {notes[name]}; here it is {value}"
            )
    if saved != expected:
        missing, extra = sorted(expected - saved), sorted(saved - expected)
        raise UserError(
            f"the checkpoint's weights ({notes['model_name']}) are not this student's: "
            f"{len(missing)} are missing {missing[:3]}, {len(extra)} unknown {extra[:3]}"
        )


def check_same_data(notes: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise UserError where a run would be resumed on other steps than it began with.

    Args:
        notes: The checkpoint's ``nt_lightning`` entry.
        ours: ``TraceDataModule.identity`` of this run.
    """
    other = [name for name, value in ours.items() if notes.get("data", {}).get(name) != value]
    if other:
        raise UserError(
            f"the checkpoint was trained on other data (different: {', '.join(other)}); resume "
            "with the config.yaml of its run"
        )
