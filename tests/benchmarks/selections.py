"""python -m tests.benchmarks.selections [--traces 2800000] [--size 100000] [--folder FOLDER]

Each selection by a trace's own columns on a pool of the paper's size, with texts of 1 KB: seconds
and peak memory from opening the pool to the chosen rows, the check of every byte on opening told
apart. The pool is made once in FOLDER (3 GB) and found again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.benchmarks.protocol import Meter, Result, fresh_process, machine

NAME = "tests.benchmarks.selections"
SHARD = 50_000
DOMAINS = 13
STRATEGIES = [f"strategy-{number}" for number in range(40)]
SIDES = ("random", "topics", "long", "verbosity", "strategies", "disagree", "short_reference")
COMPOSED = ("chain", "mixture", "tokens")


def make_pool(folder: Path, traces: int) -> None:
    """Write a pool with every column of the record, shard by shard."""
    from nt_lightning.traces.pool import write_pool

    write_pool(_tables(traces), folder, {"benchmark": NAME, "traces": traces})


def _tables(traces: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    words = np.array([f"w{number:04d}" for number in range(5_000)])
    soup = " ".join(rng.choice(words, 2_000_000))
    for first in range(0, traces, SHARD):
        count = min(SHARD, traces - first)
        starts = rng.integers(0, len(soup) - 2_000, count)
        numbers = range(first, first + count)
        strategies = rng.integers(1, 12, count)
        agree = rng.random(count)
        yield pa.table(
            {
                "id": [f"nr-{number:07d}/deepseek-r1" for number in numbers],
                "question": [
                    f"{number}: {soup[s : s + 150]}"
                    for number, s in zip(numbers, starts, strict=True)
                ],
                "teacher": ["deepseek-r1"] * count,
                "reasoning": [soup[s : s + 750] for s in starts],
                "answer": [soup[s : s + 120] for s in starts],
                "reference_answer": [
                    soup[s : s + 6 * n]
                    for s, n in zip(starts, rng.integers(0, 9, count), strict=True)
                ],
                "finish_reason": np.where(rng.random(count) < 0.95, "stop", "length"),
                "response_tokens": rng.lognormal(np.log(2_500), 0.8, count).astype(np.int64),
                "domain": [f"domain {n}" for n in rng.geometric(0.25, count).clip(max=DOMAINS)],
                "reasoning_strategies": [
                    [STRATEGIES[(s + step) % 40] for step in range(n)]
                    for s, n in zip(starts, strategies, strict=True)
                ],
                "num_steps": rng.integers(2, 60, count),
                "verbosity": rng.binomial(10, 0.4, count),
                "models_agree": pa.array(agree < 0.64, mask=agree > 0.99),
            }
        )


def selection(side: str, size: int) -> Any:
    """The data module of a side."""
    from nt_lightning.data import composition, selections, strategies

    if side == "chain":
        parts = [selections.AgreementSelection(), strategies.StrategySelection()]
        return composition.ChainSelection(selections=parts, num_traces=size)
    if side == "mixture":
        parts = [selections.AgreementSelection(), selections.RandomSelection()]
        return composition.MixtureSelection(selections=parts, shares=[0.5, 0.5], num_traces=size)
    if side == "tokens":
        return selections.LongSelection(num_tokens=3_000 * size)
    kind = {
        "random": selections.RandomSelection,
        "topics": selections.TopicSelection,
        "long": selections.LongSelection,
        "verbosity": selections.VerbositySelection,
        "strategies": strategies.StrategySelection,
        "disagree": selections.AgreementSelection,
        "short_reference": selections.ShortReferenceSelection,
    }[side]
    return kind(num_traces=size)


def run(side: str, folder: Path, size: int) -> Result:
    """One selection in this process."""
    data = selection(side, size)
    from nt_lightning.data.assemble import pick
    from nt_lightning.traces.pool import Pool

    with Meter() as meter:
        start = time.perf_counter()
        pool = Pool(folder)
        opened = time.perf_counter() - start
        picked = pick(pool, data.wanted, data)
    taken = len(picked.chosen.train)
    assert side == "tokens" or taken == size
    return meter.result(open_s=round(opened, 2), taken=taken)


def main() -> None:
    """Run a side, or all in fresh processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=(*SIDES, *COMPOSED))
    parser.add_argument("--traces", type=int, default=2_800_000)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/nt_lightning_selections"))
    args = parser.parse_args()
    folder = args.folder / str(args.traces)
    if args.side:
        print(json.dumps(run(args.side, folder, args.size)))
        return
    if not folder.is_dir():
        print(f"making {folder}")
        make_pool(folder, args.traces)
    print("machine: " + ", ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"{args.size} of {args.traces} traces")
    print(f"{'selection':<16}{'wall s':>8}{'of it open':>12}{'CPU s':>8}{'peak MiB':>10}")
    for side in (*SIDES, *COMPOSED):
        options = {"traces": args.traces, "size": args.size, "folder": args.folder}
        found = fresh_process(NAME, side, options, threads=2)
        print(
            f"{side:<16}{found['wall_s']:>8.1f}{found['open_s']:>12.1f}{found['cpu_s']:>8.1f}"
            f"{found['peak_mib']:>10.0f}"
        )


if __name__ == "__main__":
    main()
