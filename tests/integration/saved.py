"""Small runs that save: one after another in one process, or in each of several."""

from __future__ import annotations

import json
import os
import resource
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO, CheckpointIO
from torch.distributed.tensor import DTensor

from callbacks.last_checkpoint import LastCheckpoint
from callbacks.rng_state import RNGState
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO, with_checkpoints
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sft import MaskedSFT
from tests.integration.training import DEVICES, strategy_of

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
    strategy: str = "auto",
    ckpt_path: Path | None = None,
    save_every: int = 3,
    more: tuple[Callback, ...] = (),
    lora: LoRA | None = None,
    quantization: Any = None,
    plugin: CheckpointIO | None = None,
    **options: Any,
) -> Seen:
    """Two epochs of eight steps, of one process or several."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    seed_everything(1, verbose=False)
    seen = Seen()
    data = RandomSelection(
        pool, student, num_val=4, max_tokens=256, tokens_per_step=512, num_traces=40
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=DEVICES[strategy],
        strategy=strategy_of(strategy),
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[plugin or AtomicCheckpointIO()],
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


def flip(file: Path, place: int) -> None:
    """Change one byte."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


class Runs:
    """Runs of this rank in folders of their own, and what each of them saw in files.

    Args:
        student: Folder of the student.
        pool: Folder of the pool.
        folder: Where the runs' folders and files go.
    """

    def __init__(self, student: str, pool: str, folder: Path) -> None:
        self.places, self.folder = (student, pool), folder
        self.rank = int(os.environ["LOCAL_RANK"])

    def last(self, name: str) -> Path:
        """The checkpoint that a run has left."""
        return self.folder / name / "checkpoints" / "last.ckpt"

    def run(self, name: str, strategy: str = "fsdp2", **options: Any) -> None:
        """Train; ids of every rank, and the state at the start and the end."""
        seen = train(*self.places, self.folder / name, strategy=strategy, **options)
        (self.folder / f"{name}-{self.rank}.json").write_text(json.dumps(seen.steps))
        if self.rank == 0:
            torch.save([seen.start, seen.end], self.folder / f"{name}.pt")

    def refused(self, name: str, **options: Any) -> str:
        """What ends a run that must not succeed."""
        try:
            train(*self.places, self.folder / name, strategy="fsdp2", **options)
        except UserError as error:
            return str(error)
        return "nothing"


def of_two_ranks(student: str, pool: str, folder: Path) -> int:
    """Every run of two processes that ``test_saved`` looks at, one after another."""
    runs = Runs(student, pool, folder)
    runs.run("undisturbed")
    runs.run("stopped", max_steps=5)
    runs.run("resumed", ckpt_path=runs.last("stopped"))
    runs.run("from_file", ckpt_path=runs.last("alone"))
    runs.run("divided", "1x2", ckpt_path=runs.last("stopped"), max_steps=8)
    runs.run("shared", ckpt_path=runs.last("divided"), max_steps=9)
    runs.run("lora", lora=LoRA(r=4), max_steps=2)
    best = ModelCheckpoint(
        folder / "best", "{step}", monitor="val/loss", save_top_k=2, mode="max"
    )  # the loss falls: every new one is worse than those before, the first two stay
    runs.run("best_run", more=(best,), val_check_interval=4)
    errors = [runs.refused("full", more=(FullDisk(4, rank=1),))]
    if runs.rank == 0:
        shutil.copytree(runs.last("stopped"), runs.last("damaged"))
        flip(runs.last("damaged") / "shard-00001.pt", 5000)
    torch.distributed.barrier()
    errors += [runs.refused("new", ckpt_path=runs.last("damaged"))]
    (folder / f"errors-{runs.rank}.json").write_text(json.dumps(errors))
    return 0


def of_two_replicas(student: str, pool: str, folder: Path) -> int:
    """Runs of two processes under ddp, saved in a thread and not."""
    runs = Runs(student, pool, folder)
    runs.run("ddp", "ddp", max_steps=8)
    [in_a_thread] = with_checkpoints([AsyncCheckpointIO()])
    runs.run("ddp_stopped", "ddp", max_steps=5, plugin=in_a_thread)
    [in_a_thread] = with_checkpoints([AsyncCheckpointIO()])
    last = runs.last("ddp_stopped")
    runs.run("ddp_resumed", "ddp", max_steps=8, plugin=in_a_thread, ckpt_path=last)
    return 0


def of_four_ranks(student: str, pool: str, folder: Path) -> int:
    """Rows shared out over two groups, each of which computes its rows together."""
    runs = Runs(student, pool, folder)
    runs.run("square", "2x2", max_steps=6)
    runs.run("square_stopped", "2x2", max_steps=4)
    last = runs.last("square_stopped")
    runs.run("square_resumed", "2x2", max_steps=6, ckpt_path=last)
    return 0
