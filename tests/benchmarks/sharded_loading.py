"""python -m tests.benchmarks.sharded_loading [--ranks 2]

Peak memory of every rank while SmolLM2-135M (0.54 GB in float32) is loaded and shared out under
``fsdp2``: ours reads it on the first rank alone (``first``); the plain way reads it on every rank
and then shares it out (``every``). Memory is what the process did not hold before.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from tests.benchmarks.protocol import Meter, Result, fresh_process, report

NAME = "tests.benchmarks.sharded_loading"
MODEL = "smollm2-135m-instruct"
SIDES = ("first", "every")


def one_rank(side: str) -> None:
    """Load on this rank and print what it took."""
    from torch.distributed.device_mesh import init_device_mesh

    from nt_lightning.models import model_path
    from nt_lightning.student.loading import load_student, outline_student
    from nt_lightning.student.loading_sharded import load_on_first_rank
    from nt_lightning.student.sharding import shard

    dist.init_process_group("gloo")
    ranks = dist.get_world_size()
    mesh = init_device_mesh("cpu", (ranks, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    share = partial(shard, mesh=mesh)
    folder = model_path(MODEL)
    with torch.device("meta"):
        outline_student(folder)  # imports
    dist.barrier()
    with Meter() as meter:
        if side == "first":
            load, outline = partial(load_student, folder), partial(outline_student, folder)
            model = load_on_first_rank(load, outline, share, torch.device("cpu"))
        else:
            model = load_student(folder)
            share(model)
    held = sum(p.to_local().nbytes for p in model.parameters()) / 2**20
    found: list[Any] = [None] * ranks
    dist.all_gather_object(found, meter.result(shards_mib=round(held, 1)))
    if dist.get_rank() == 0:
        print(json.dumps(found))
    dist.destroy_process_group()


def all_ranks(side: str, ranks: int) -> Result:
    """Start the ranks of one side."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    command = [sys.executable, "-m", NAME, "--rank_of", side]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **place, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(ranks)
    ]
    said = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return {"ranks": json.loads(said[0].splitlines()[-1])}


def main() -> None:
    """Measure one rank or one side, or compare both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--rank_of", choices=SIDES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.rank_of:
        one_rank(args.rank_of)
    elif args.side:
        print(json.dumps(all_ranks(args.side, args.ranks)))
    else:
        rows: list[tuple[str, object]] = []
        for side in SIDES:
            found = fresh_process(NAME, side, {"ranks": args.ranks})["ranks"]
            for rank, one in enumerate(found):
                for key in ("extra_mib", "shards_mib", "wall_s"):
                    rows.append((f"{side}, rank {rank}, {key}", float(one[key])))
        report("sharded_loading", {"ranks": args.ranks}, rows)


if __name__ == "__main__":
    main()
