"""SIGKILL at random moments of training and saving, then the checkpoint is looked at.

    python -m tests.kills --kills 200

A small student is trained and saved at every step, so that saving takes a good part of the time.
After each kill ``last.ckpt`` has to be whole and to the bit what an undisturbed run has at its
step; the next run goes on from there. Every second kill waits for a save to begin, and one in five
hits two processes under fsdp2. TMPDIR is on another file system.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor

from nt_lightning.errors import UserError
from nt_lightning.files import sweep
from nt_lightning.runs import CHECKPOINTS, LAST
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from tests import forked
from tests.integration.saved import train
from tests.tiny import save_tiny_pool, save_tiny_student

EPOCHS = 15
STEPS = 8 * EPOCHS
KILLS_IN_A_RUN = 5
LONGEST_S = 1.0  # from the first step to the kill
LONGEST_IN_SAVE_S = 0.1
BAD = (
    "bad_ended_by_itself",
    "bad_resumed_elsewhere",
    "bad_damaged",
    "bad_lost_steps",
    "bad_other_weights",
    "bad_leftovers_after_a_save",
)


class Place(NamedTuple):
    """What is trained, how many processes train it, and their TMPDIR."""

    student: str
    pool: str
    ranks: int
    temporary: str


class Watched(Callback):
    """Tells where training starts; writes down the digest of the weights after every step."""

    def __init__(self, started: int, digests: Path | None) -> None:
        self.started, self.path, self.digests = started, digests, {0: ""}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_rank == 0:
            os.write(self.started, b"%d\n" % trainer.global_step)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.path is not None:
            self.digests[trainer.global_step] = weights_digest(pl_module.state_dict())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.path is not None and trainer.global_rank == 0:
            self.path.write_text(json.dumps(self.digests))


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    sha = hashlib.sha256()
    for name, value in sorted(weights.items()):
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        sha.update(name.encode() + whole.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()


def start(
    place: Place, folder: Path, digests: Path | None = None
) -> tuple[list[ForkServerProcess], Connection]:
    """The processes of a run, and the end of a pipe that tells of its start."""
    told, tells = forked.context.Pipe(duplex=False)
    log = folder.parent / f"log-{place.ranks}"
    with tells:
        arguments = (place, folder, tells, digests)
        if place.ranks == 1:  # Lightning takes a LOCAL_RANK for a process of several
            return [forked.start(log, run, *arguments)], told
        return forked.start_ranks(place.ranks, log, run, *arguments), told


def run(place: Place, folder: Path, tells: Connection, digests: Path | None) -> int:
    """Train from the last checkpoint, if there is one, as the command line would."""
    os.environ["TMPDIR"] = tempfile.tempdir = place.temporary
    last = folder / CHECKPOINTS / LAST
    train(
        place.student,
        place.pool,
        folder,
        strategy="fsdp2" if place.ranks > 1 else "auto",
        ckpt_path=last if last.exists() else None,
        save_every=1 if digests is None else STEPS,
        more=(Watched(tells.fileno(), digests),),
        max_epochs=EPOCHS,
    )
    return 0


def heard(told: Connection) -> int:
    """The step at which a run starts.

    Raises:
        RuntimeError: It ended before.
    """
    with told, os.fdopen(os.dup(told.fileno())) as pipe:
        line = pipe.readline()
    if not line:
        raise RuntimeError("a run ended before it began to train")
    return int(line)


def leftovers(folder: Path) -> dict[str, int]:
    """Hidden files and folders, and the processes they belong to."""
    found = [path.name for path in folder.glob(".*")]
    return {name: int(re.findall(r"-(\d+)\.(?:partial|old)$", name)[0]) for name in found}


def kill_once(
    place: Place, folder: Path, draw: random.Random, wanted: dict[int, str]
) -> Counter[str]:
    """Start or go on, kill, and count what was found."""
    checkpoints = folder / CHECKPOINTS
    before, _ = newest(checkpoints)
    processes, told = start(place, folder)
    pids = [process.pid for process in processes]
    began = heard(told)
    time.sleep(draw.uniform(0, LONGEST_S))
    if draw.random() < 0.5:
        known = leftovers(checkpoints).keys()
        while processes[0].is_alive() and not leftovers(checkpoints).keys() - known:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, LONGEST_IN_SAVE_S))
    for process in draw.sample(processes, len(processes)):
        process.kill()
    for process in processes:
        process.join()
    left = leftovers(checkpoints)
    step, digest = newest(checkpoints)
    older = sum(pid not in pids for pid in left.values())
    return Counter(
        kills=1,
        steps=max(step - began, 0),
        hit_a_save=len(left) > older,
        bad_ended_by_itself=any(process.exitcode != -signal.SIGKILL for process in processes),
        bad_resumed_elsewhere=began != before,
        bad_damaged=step < 0,
        bad_lost_steps=0 <= step < before,
        bad_other_weights=step > 0 and digest != wanted[step],
        bad_leftovers_after_a_save=older if step > began else 0,
    )


def newest(checkpoints: Path) -> tuple[int, str]:
    """Step and digest of ``last.ckpt``; step 0 where there is none, -1 where it is damaged."""
    last = checkpoints / LAST
    if not last.exists():
        sweep(last)  # as --ckpt_path last does
    if not last.exists():
        return 0, ""
    try:
        content = AtomicCheckpointIO().load_checkpoint(last)
    except UserError as error:
        print(error)
        return -1, ""
    return content["global_step"], weights_digest(content["state_dict"])


def undisturbed(place: Place, folder: Path) -> dict[int, str]:
    """Digests by step of a run that nobody kills."""
    path = folder / f"digests-{place.ranks}.json"
    processes, told = start(place, folder / f"undisturbed-{place.ranks}", path)
    heard(told)
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError((folder / f"log-{place.ranks}").read_text()[-3000:])
    return {int(step): digest for step, digest in json.loads(path.read_text()).items()}


def kill_many(place: Place, folder: Path, count: int, seed: int) -> Counter[str]:
    """Kill one run after another, each several times."""
    draw, total = random.Random(f"{seed}-{place.ranks}"), Counter[str]()
    wanted = undisturbed(place, folder)
    for trial in range(count):
        run_folder = folder / f"run-{place.ranks}-{trial // KILLS_IN_A_RUN}"
        total += kill_once(place, run_folder, draw, wanted)
        print(f"{trial + 1} of {count}: {dict(total)}", file=sys.stderr, flush=True)
    return total


def main() -> int:
    """Kill, print the table; 1 where anything was bad or no save was hit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    of_two = options.kills // 5
    elsewhere = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory(dir=elsewhere) as temporary,
    ):
        folder = Path(name)
        student = save_tiny_student(folder / "student", hidden_size=256, attention_dropout=0.1)
        pool = save_tiny_pool(folder / "pool")
        columns = {
            "one file": kill_many(
                Place(student, pool, 1, temporary), folder, options.kills - of_two, options.seed
            ),
            "fsdp2, two processes": kill_many(
                Place(student, pool, 2, temporary), folder, of_two, options.seed
            ),
        }
        in_temporary = len(os.listdir(temporary))
    rows = ["kills", "steps", "hit_a_save", *BAD]
    print(f"{'':28}" + "".join(f"{name:>22}" for name in columns))
    for row in rows:
        print(f"{row:28}" + "".join(f"{counts[row]:22}" for counts in columns.values()))
    print(f"{'left in TMPDIR':28}{in_temporary:22}")
    bad = sum(counts[row] for counts in columns.values() for row in BAD) + in_temporary
    return 1 if bad or not any(counts["hit_a_save"] for counts in columns.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
