"""Small runs that save: one after another in one process or, as a script, in each of two.

    python -m tests.integration.saved STUDENT POOL FOLDER

trains under fsdp2 with two processes; ``on_two_ranks`` starts both.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.distributed.tensor import DTensor

from callbacks.last_checkpoint import LastCheckpoint
from callbacks.rng_state import RNGState
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sft import MaskedSFT
from nt_lightning.student.strategies import FSDP2Strategy
from tests.integration.command import ROOT

State = dict[str, torch.Tensor]


class Seen(Callback):
    """Trace ids of this rank by step, and the weights and moments at the start and the end."""

    def __init__(self) -> None:
        self.steps: dict[int, list[str]] = {}
        self.start: State = {}
        self.end: State = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.start = whole_state(pl_module)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        ids = trainer.datamodule.trace_ids(batch.rows.tolist())
        self.steps.setdefault(trainer.global_step + 1, []).extend(ids)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.end = whole_state(pl_module)


def whole_state(module: Any) -> State:
    """Trained weights and AdamW's moments; DTensor's own gathering puts shards together."""
    optimizer, found = module.trainer.optimizers[0], {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            values = {"": parameter, **optimizer.state.get(parameter, {})}
            for field, value in values.items():
                value = value.detach()
                value = value.full_tensor() if isinstance(value, DTensor) else value
                found[f"{name} {field}"] = value.clone()
    return found


def train(
    student: str,
    pool: str,
    folder: Path,
    *,
    sharded: bool,
    ckpt_path: Path | None = None,
    save_every: int = 3,
    more: tuple[Callback, ...] = (),
    lora: LoRA | None = None,
    quantization: Any = None,
    tensor_parallel_size: int = 1,
    **options: Any,
) -> Seen:
    """Two epochs of eight steps, of one process or two."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    seed_everything(1, verbose=False)
    seen = Seen()
    data = RandomSelection(
        pool, student, num_val=4, max_tokens=256, tokens_per_step=512, num_traces=40
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=2 if sharded else 1,
        strategy=FSDP2Strategy(tensor_parallel_size) if sharded else "auto",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=[RNGState(), seen, *more, LastCheckpoint(save_every)],
        **{"max_epochs": 2, **options},
    )
    module = MaskedSFT(student, lora=lora, quantization=quantization)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return seen


class FullDisk(Callback):
    """From a step on, one rank can write no file of more than 10 kB.

    Args:
        step: Steps done before it.
        rank: That has no room.
    """

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def refusal(*args: Any, **options: Any) -> str:
    """What ends a run that must not succeed."""
    try:
        train(*args, **options)
    except UserError as error:
        return str(error)
    return "nothing"


def flip(file: Path, place: int) -> None:
    """Change one byte."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def of_two_ranks(student: str, pool: str, folder: Path) -> None:
    """Every run of two processes that ``test_saved`` looks at, one after another."""
    rank = int(os.environ["LOCAL_RANK"])
    last = "checkpoints/last.ckpt"

    def run(name: str, **options: Any) -> Seen:
        return train(student, pool, folder / name, sharded=True, **options)

    def keep(name: str, seen: Seen) -> None:
        (folder / f"{name}-{rank}.json").write_text(json.dumps(seen.steps))
        if rank == 0:
            torch.save([seen.start, seen.end], folder / f"{name}.pt")

    keep("undisturbed", run("undisturbed"))
    keep("stopped", run("stopped", max_steps=5))
    keep("resumed", run("resumed", ckpt_path=folder / "stopped" / last))
    keep("from_file", run("from_file", ckpt_path=folder / "alone" / last))
    stopped = folder / "stopped" / last
    keep("divided", run("divided", tensor_parallel_size=2, ckpt_path=stopped, max_steps=8))
    keep("shared", run("shared", ckpt_path=folder / "divided" / last, max_steps=9))
    keep("lora", run("lora", lora=LoRA(r=4), max_steps=2))
    best = ModelCheckpoint(
        folder / "best", "{step}", monitor="val/loss", save_top_k=2, mode="max"
    )  # the loss falls: every new one is worse than those before, the first two stay
    keep("best", run("best_run", more=(best,), val_check_interval=4))
    errors = [refusal(student, pool, folder / "full", sharded=True, more=(FullDisk(4, rank=1),))]
    (folder / "damaged").mkdir(exist_ok=True)
    if rank == 0:
        shutil.copytree(folder / "stopped" / last, folder / "damaged" / "last.ckpt")
        flip(folder / "damaged" / "last.ckpt" / "shard-00001.pt", 5000)
    torch.distributed.barrier()
    damaged = folder / "damaged" / "last.ckpt"
    errors += [refusal(student, pool, folder / "new", sharded=True, ckpt_path=damaged)]
    (folder / f"errors-{rank}.json").write_text(json.dumps(errors))


def on_two_ranks(*arguments: object) -> None:
    """Run this script in two processes that know of each other."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **known, "NODE_RANK": "0", "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]


if __name__ == "__main__":
    of_two_ranks(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
