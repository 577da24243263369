"""python -m tests.benchmarks.packing_plan [--traces 500000] [--side resume]

The plan of one epoch against TRL's best-fit packing: CPU-seconds, memory, how full the bins are.

``trl-global`` packs all traces in one batch, ``trl-shipped`` in batches of 1,000 as ``SFTTrainer``
does. TRL packs by moving tokens: here its rows are lists of nulls, which have lengths and no bytes,
and the time in Arrow's ``filter`` and ``take`` is left out of ``plan_cpu_s``, so that planning is
compared with planning. Balance is the attention's work, the sum of squared
lengths: of the busiest of 8 ranks over the mean rank, in a step and over the epoch.

``resume`` measures the loader instead: milliseconds from ``iter(loader)`` to the first batch at
90 % of the second epoch, tokenised traces in an Arrow file of a hundredth of the lengths.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.protocol import (
    Meter,
    Result,
    alternate,
    fresh_process,
    median_of,
    ratio,
    report,
)

NAME = "tests.benchmarks.packing_plan"
CAPACITY = 16_384
BINS_PER_STEP = 24  # about 400,000 tokens, as in the paper
RANKS = 8
SIDES = ("ours", "trl-global", "trl-shipped")
ALONE = "resume"


def draw_lengths(traces: int) -> np.ndarray:
    """Trace lengths: lognormal around 1,500 tokens, clipped at the capacity."""
    rng = np.random.default_rng(0)
    return np.clip(rng.lognormal(np.log(1_500), 0.9, traces), 16, CAPACITY).astype(np.int64)


def run_ours(lengths: np.ndarray) -> Result:
    """Plan an epoch."""
    from nt_lightning.data.plan import plan_epoch

    with Meter() as meter:
        plan = plan_epoch(
            lengths,
            lengths - lengths // 4,
            max_tokens=CAPACITY,
            bins_per_step=BINS_PER_STEP,
            seed=0,
            epoch=0,
        )
    assert np.array_equal(np.sort(plan.order), np.arange(len(lengths)))
    return _result(meter, lengths[plan.order], np.diff(plan.bin_starts))


def run_trl(lengths: np.ndarray, batch_size: int) -> Result:
    """Pack with TRL, then shuffle the bins as the Trainer's sampler does."""
    import datasets
    import pyarrow as pa
    from trl import data_utils

    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    rows = pa.ListArray.from_arrays(offsets, pa.nulls(int(offsets[-1])))
    dataset = datasets.Dataset(pa.table({"input_ids": rows}))
    datasets.disable_progress_bars()
    options: dict[str, Any] = {"batch_size": batch_size, "keep_in_memory": True}
    data_utils.pc = moving = TimedMoves()
    with Meter() as meter:
        packed = data_utils.pack_dataset(dataset, CAPACITY, "bfd", options)
    bins = packed.with_format(None)["seq_lengths"][:]
    bins = [bins[index] for index in np.random.default_rng(0).permutation(len(bins))]
    return _result(meter, np.concatenate(bins), np.array([len(one) for one in bins]), moving.cpu_s)


class TimedMoves:
    """``pyarrow.compute`` that adds up the CPU-seconds in which rows are copied."""

    def __init__(self) -> None:
        self.cpu_s = 0.0

    def __getattr__(self, name: str) -> Any:
        import pyarrow.compute as pc

        function = getattr(pc, name)
        return partial(self._timed, function) if name in ("filter", "take") else function

    def _timed(self, function: Callable[..., Any], *args: Any) -> Any:
        started = time.process_time()
        result = function(*args)
        self.cpu_s += time.process_time() - started
        return result


def run_resume(lengths: np.ndarray) -> Result:
    """A loader that goes on at 90 % of its second epoch."""
    import datasets
    import pyarrow as pa

    from nt_lightning.data.batch import PackedTraces
    from nt_lightning.data.loader import PlanSampler, ResumableLoader
    from nt_lightning.data.plan import plan_epoch

    lengths = np.maximum(lengths // 100, 4)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns = {
        "input_ids": pa.ListArray.from_arrays(offsets, pa.array(np.ones(offsets[-1], np.int32))),
        "num_prompt": np.ones(len(lengths), np.int32),
        "mode": np.zeros(len(lengths), np.int8),
        "teacher": pa.array(["a"]).take(pa.array(np.zeros(len(lengths), np.int64))),
    }
    with tempfile.TemporaryDirectory() as folder:
        datasets.Dataset(pa.table(columns)).save_to_disk(folder)
        traces = PackedTraces(datasets.load_from_disk(folder), ["a"])
        sizes: dict[str, Any] = {"max_tokens": CAPACITY, "bins_per_step": BINS_PER_STEP, "seed": 0}
        sampler = PlanSampler(
            lambda epoch: plan_epoch(lengths, lengths - 1, epoch=epoch, **sizes), 0, 1
        )
        loader = ResumableLoader(traces, sampler, num_workers=0, pin_memory=False)
        sampler.set_epoch(1)
        loader.load_state_dict({"epoch": 1, "batches": int(0.9 * len(sampler))})
        started = time.perf_counter()
        batch = next(iter(loader))
        first_ms = 1000 * (time.perf_counter() - started)
    return {"first_batch_ms": round(first_ms, 2), "tokens": batch.input_ids.shape[1]}


def _result(
    meter: Meter, ordered: np.ndarray, sizes: np.ndarray, moving_cpu_s: float = 0.0
) -> Result:
    """Costs and quality of a plan.

    Args:
        meter: What planning cost.
        ordered: Lengths in the order of training.
        sizes: Traces of each bin.
        moving_cpu_s: CPU-seconds in which rows were copied.
    """
    starts = np.cumsum(sizes) - sizes
    filled = np.add.reduceat(ordered, starts)
    assert filled.max() <= CAPACITY
    work = np.add.reduceat(ordered**2, starts)
    whole = work[: len(work) // BINS_PER_STEP * BINS_PER_STEP]
    per_rank = whole.reshape(-1, BINS_PER_STEP // RANKS, RANKS).sum(1)  # [steps, ranks]
    return meter.result(
        plan_cpu_s=meter.cpu_s - moving_cpu_s,
        bins=len(sizes),
        fill=float(filled.sum() / (len(sizes) * CAPACITY)),
        step_balance=float((per_rank.max(1) / per_rank.mean(1)).mean()),
        epoch_balance=float(per_rank.sum(0).max() / per_rank.sum(0).mean()),
    )


def main() -> None:
    """Measure one side, or compare all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=int, default=500_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--side", choices=(*SIDES, ALONE), help="measure this side alone, in this process"
    )
    args = parser.parse_args()
    if args.side:
        lengths = draw_lengths(args.traces)
        batch_size = {"trl-global": args.traces, "trl-shipped": 1_000}.get(args.side)
        if args.side == ALONE:
            result = run_resume(lengths)
        else:
            result = run_trl(lengths, batch_size) if batch_size else run_ours(lengths)
        print(json.dumps(result))
        return
    results = alternate(
        SIDES, lambda side: fresh_process(NAME, side, {"traces": args.traces}), args.pairs
    )
    rows: list[tuple[str, object]] = []
    for side in SIDES:
        for key in ("cpu_s", "plan_cpu_s", "extra_mib", "fill", "step_balance", "epoch_balance"):
            rows.append((f"{side}, {key}", median_of(results[side], key)))
        if side != "ours":
            for key in ("cpu_s", "plan_cpu_s"):
                quotient = ratio(results[side], results["ours"], key)
                rows.append((f"{side} / ours, {key}", str(quotient)))
    report("packing_plan", {"traces": args.traces, "pairs": args.pairs}, rows)


if __name__ == "__main__":
    main()
