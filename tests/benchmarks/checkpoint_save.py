"""Saving a checkpoint against Lightning's own, until it is on the disk.

    python -m tests.benchmarks.checkpoint_save

One gigabyte of weights and moments, tensors of 20 MB. Lightning's file is fsynced after its save,
which ours does itself. Wall seconds, since the disk is waited for; the bar is half of Lightning's
time, and memory of at most 2 % of the state.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from nt_lightning.files import fsync_path
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from tests.benchmarks.protocol import (
    Meter,
    Result,
    alternate,
    fresh_process,
    median_of,
    ratio,
    report,
)

SIDES = {"nt_lightning": AtomicCheckpointIO, "lightning": TorchCheckpointIO}
NUM_TENSORS, NUM_VALUES = 50, 5_000_000


def measure(side: str, folder: Path) -> Result:
    """Save once with one side."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"layer.{index}": torch.randn(NUM_VALUES, generator=generator)
        for index in range(NUM_TENSORS)
    }
    content = {"state_dict": weights, "global_step": 1, "epoch": 0}
    path = folder / "checkpoint.ckpt"
    SIDES[side]().save_checkpoint({}, path)  # what the first save imports
    with Meter() as meter:
        SIDES[side]().save_checkpoint(content, path)
        if side == "lightning":
            fsync_path(path)
            fsync_path(folder)
    size = path.stat().st_size
    return meter.result(size=size, extra_share=meter.extra_mib * 2**20 / size)


def main() -> None:
    """Measure both sides in turn and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.side:
            print(json.dumps(measure(options.side, Path(name))))
            return
    results = alternate(
        list(SIDES), lambda side: fresh_process(__spec__.name, side, {}), options.pairs
    )
    ours, theirs = results["nt_lightning"], results["lightning"]
    rows: list[tuple[str, object]] = [
        (f"{side} {key}", median_of(results[side], key))
        for key in ("wall_s", "cpu_s", "extra_mib")
        for side in SIDES
    ]
    rows += [
        ("wall seconds, ours / Lightning's", str(ratio(ours, theirs, "wall_s"))),
        ("CPU seconds, ours / Lightning's", str(ratio(ours, theirs, "cpu_s"))),
        ("extra memory, ours, share of the state", median_of(ours, "extra_share")),
    ]
    setting = {"tensors": NUM_TENSORS, "bytes": ours[0]["size"], "pairs": options.pairs}
    report("checkpoint_save", setting, rows)


if __name__ == "__main__":
    main()
