"""A run that is killed and resumed several times, also where an epoch ends: as if undisturbed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from tests import forked
from tests.integration.saved import train
from tests.kills import weights_digest
from tests.tiny import save_tiny_pool, save_tiny_student

STEPS_OF_AN_EPOCH = 8
Digests = dict[int, tuple[str, list[str]]]


class Dying(Callback):
    """Ends the process as SIGKILL does when so many steps are done; digests and ids until then."""

    def __init__(self, step: int, notes: Path) -> None:
        self.step, self.notes = step, notes
        self.ids: list[str] = []

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self.step:
            os._exit(0)
        self.ids += trainer.datamodule.trace_ids(batch.rows.tolist())

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        digest = weights_digest(pl_module.state_dict())
        with self.notes.open("a") as notes:
            notes.write(json.dumps([trainer.global_step, digest, sorted(self.ids)]) + "\n")
        self.ids = []


def run_until(folder: Path, name: str, stop: int, notes: Path) -> int:
    """Start, or go on from the last checkpoint; 1 if the run did not die at ``stop``."""
    last = folder / name / "checkpoints" / "last.ckpt"
    train(
        str(folder / "student"),
        str(folder / "pool"),
        folder / name,
        ckpt_path=last if last.exists() else None,
        save_every=1,
        more=(Dying(stop, notes),),
        max_epochs=5,
    )
    return 1


def run(folder: Path, name: str, stops: list[int]) -> Digests:
    """Digest and ids of every step of a run that dies after each of these steps."""
    notes, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    for stop in stops:
        process = forked.start(log, run_until, folder, name, stop, notes)
        process.join()
        assert process.exitcode == 0, log.read_text()[-3000:]
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [line[0] for line in lines] == list(range(1, stops[-1] + 1))
    return {step: (digest, ids) for step, digest, ids in lines}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Digests]:
    folder = tmp_path_factory.mktemp("often")
    save_tiny_student(folder / "student", attention_dropout=0.1)
    save_tiny_pool(folder / "pool")
    digests = run(folder, "undisturbed", [34])
    first, second = (
        sorted(trace_id for step in epoch for trace_id in digests[step][1])
        for epoch in (range(1, 9), range(9, 17))
    )
    assert first == second
    return folder, digests


@pytest.mark.parametrize(
    "stops",
    [
        [STEPS_OF_AN_EPOCH, 12, 14],
        [5, 8, 12, 14],
        [8, 16, 24, 26],
        [7, 8, 9, 10],
        [8, 16, 17, 33],
        [3, 9, 27],
    ],
)
def test_to_the_bit(undisturbed: tuple[Path, Digests], stops: list[int]) -> None:
    folder, wanted = undisturbed
    found = run(folder, "-".join(map(str, stops)), stops)
    assert found == {step: wanted[step] for step in found}
