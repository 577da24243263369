"""Checkpoints stand at a whole step, and belong to one student and its data."""

import pytest

from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint import (
    align_to_step,
    check_same_data,
    check_same_student,
)


def checkpoint(processed, steps, batches, epochs=2, begun=3):
    counts = dict.fromkeys(("ready", "started", "processed", "completed"), processed)
    progress = {"current": dict(counts), "total": {k: v + 100 for k, v in counts.items()}}
    loader = {"epoch": 2 if batches else 3, "batches": batches}
    counted = {"ready": begun, "started": begun, "processed": epochs, "completed": epochs}
    optimizer = {"optimizer": {"step": {"current": {"completed": steps}}}}
    return {
        "loops": {
            "fit_loop": {
                "epoch_loop.batch_progress": progress,
                "epoch_loop.automatic_optimization.optim_progress": optimizer,
                "state_dict": {"combined_loader": [loader]},
                "epoch_progress": {name: dict(counted) for name in ("current", "total")},
            }
        }
    }


@pytest.mark.parametrize(
    ("processed", "steps", "batches", "wanted"),
    [
        (8, 2, 8, {"epoch": 2, "batches": 8}),  # a whole step: left alone
        (10, 2, 11, {"epoch": 2, "batches": 8}),  # two micro-batches into the third step
        (11, 3, 12, {"epoch": 2, "batches": 12}),  # stepped, not yet counted
        (19, 5, 20, {"epoch": 3, "batches": 0}),  # the same at the end of the epoch
    ],
)
def test_align_to_step(processed, steps, batches, wanted):
    ours = checkpoint(processed, steps, batches)
    align_to_step(ours, accumulate=4, batches_per_epoch=20)
    fit = ours["loops"]["fit_loop"]
    assert fit["state_dict"]["combined_loader"] == [wanted]
    done = steps * 4
    completed = done if processed == done else done - 1  # as behind a batch
    counts = {"ready": done, "started": done, "processed": done, "completed": completed}
    assert fit["epoch_loop.batch_progress"]["current"] == counts
    totals = {name: count + 100 for name, count in counts.items()}
    assert fit["epoch_loop.batch_progress"]["total"] == totals


@pytest.mark.parametrize(("processed", "steps", "batches"), [(8, 2, 8), (20, 5, 20)])
def test_an_epoch_that_lightning_did_not_count(processed, steps, batches):
    """After a resume at an epoch's end the next one has begun, whatever its counts say."""
    ours = checkpoint(processed, steps, batches, begun=2)
    align_to_step(ours, accumulate=4, batches_per_epoch=20)
    current = ours["loops"]["fit_loop"]["epoch_progress"]["current"]
    assert current == {"ready": 3, "started": 3, "processed": 2, "completed": 2}


def test_training_that_was_told_to_stop_has_not_done_its_epoch():
    ours = checkpoint(8, 2, 8, epochs=3)
    align_to_step(ours, accumulate=4, batches_per_epoch=20)
    counts = {"ready": 3, "started": 3, "processed": 2, "completed": 2}
    assert ours["loops"]["fit_loop"]["epoch_progress"] == {"current": counts, "total": counts}


def test_another_number_of_devices():
    """Two steps of eight micro-batches, loaded where a step has four."""
    theirs = checkpoint(16, 2, 16)
    align_to_step(theirs, accumulate=4, batches_per_epoch=20)
    assert theirs["loops"]["fit_loop"]["state_dict"]["combined_loader"] == [
        {"epoch": 2, "batches": 8}
    ]


def test_the_end_of_an_epoch_on_another_number_of_devices():
    theirs = checkpoint(40, 5, 0, epochs=3)
    align_to_step(theirs, accumulate=4, batches_per_epoch=20)
    fit = theirs["loops"]["fit_loop"]
    assert fit["state_dict"]["combined_loader"] == [{"epoch": 3, "batches": 0}]
    assert set(fit["epoch_loop.batch_progress"]["current"].values()) == {20}


NOTES = {
    "model_name": "them",
    "lora": None,
    "quantization": None,
    "data": {"traces": "a", "seed": 0},
}


@pytest.mark.parametrize(
    ("notes", "names", "message"),
    [
        ({}, {"w"}, "was not written by nt_lightning"),
        ({**NOTES, "lora": {"r": 4}}, {"w"}, "with model.lora .'r': 4.; here it is None"),
        (NOTES, {"v", "u"}, r"1 are missing \['w'\], 2 unknown \['u', 'v'\]"),
    ],
)
def test_another_student_is_refused(notes, names, message):
    with pytest.raises(UserError, match=message):
        check_same_student(notes, {"lora": None, "quantization": None}, names, {"w"})


def test_the_same_student_and_data():
    check_same_student(NOTES, {"lora": None, "quantization": None}, {"w"}, {"w"})
    check_same_data(NOTES, {"traces": "a", "seed": 0})


def test_other_data_is_refused():
    with pytest.raises(UserError, match=r"other data \(different: seed\)"):
        check_same_data(NOTES, {"traces": "a", "seed": 1})
