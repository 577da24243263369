"""python -m tests.benchmarks.guard_cost [--tokens 1024] [--steps 40]

What the guard of steps costs: training steps with it against the same steps that only clip and log
their norm.

Steps of one run take turns, with and without the guard, so that both meet the same memory and the
same neighbours on the machine; every pair of neighbouring steps gives a quotient of CPU-seconds.
The steps are small: the guard costs as much in a step of 400,000 tokens. ``guard alone`` is what it
takes on top of clipping, clocked in the steps that have it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.protocol import BARE_TRAINER, Result, fresh_process, report
from tests.benchmarks.sft_throughput import SMALL, make_student
from tests.tiny import save_tiny_pool

NAME = "tests.benchmarks.guard_cost"
WARM_UP = 4  # optimizer steps that are not counted, an even number
TRACE_TOKENS = 32  # the shortest traces have more


def run(work: Path, tokens: int, steps: int) -> Result:
    """CPU-seconds of every step, in turn with and without the guard, and of the guard alone."""
    import torch
    from lightning.pytorch import Callback, Trainer
    from torch.nn.utils import clip_grad_norm_

    from nt_lightning.data.selections import RandomSelection
    from nt_lightning.student.guard import Guard
    from nt_lightning.student.sft import MaskedSFT

    torch.set_num_threads(1)
    alone: list[float] = []
    taken: list[float] = []

    class Alternating(MaskedSFT):
        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
        ) -> None:
            if self.global_step % 2:
                grads = [p for p in self.parameters() if p.grad is not None]
                norm = clip_grad_norm_(grads, gradient_clip_val)
                optimizer.found_inf = None
                self._log_step(norm)
                return
            super().configure_gradient_clipping(optimizer, gradient_clip_val)

        def _settle(self) -> None:
            self._begin = time.process_time()
            super()._settle()

        def _log_step(self, norm: Any) -> None:
            if self.global_step % 2 == 0:
                alone.append(time.process_time() - self._begin)
            super()._log_step(norm)

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            self.begin = time.process_time()

        def on_train_batch_end(self, *_: Any) -> None:
            taken.append(time.process_time() - self.begin)

    os.environ["NT_CACHE"] = str(work / "cache")
    student, pool = str(work / SMALL), str(work / "pool")
    data = RandomSelection(pool, student, max_tokens=tokens, tokens_per_step=tokens)
    trainer = Trainer(
        **BARE_TRAINER,
        max_steps=WARM_UP + steps,
        log_every_n_steps=10_000,
        callbacks=[Clock()],
    )
    trainer.fit(Alternating(student, guard=Guard("skip", spike=10.0)), data)
    assert len(taken) == WARM_UP + steps  # one micro-batch a step
    return {"taken": taken[WARM_UP:], "alone": alone[WARM_UP // 2 :]}


def main() -> None:
    """Measure in a fresh process, or be that process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1_024, help="of a step")
    parser.add_argument("--steps", type=int, default=40, help="half of them with the guard")
    parser.add_argument("--side", help="measure in this process")
    parser.add_argument("--work", type=Path, help="folder with student and traces")
    args = parser.parse_args()
    setting = {"tokens": args.tokens, "steps": args.steps}
    if args.side:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        print(json.dumps(run(args.work, **setting)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        make_student(work / SMALL)
        save_tiny_pool(work / "pool", args.tokens * (args.steps + WARM_UP) // TRACE_TOKENS)
        result = fresh_process(NAME, "ours", {**setting, "work": work})
    with_guard, without = result["taken"][::2], result["taken"][1::2]
    quotients = [a / b for a, b in zip(with_guard, without, strict=True)]
    rows: list[tuple[str, object]] = [
        ("CPU-seconds of a step with the guard", median(with_guard)),
        ("CPU-seconds of a step without", median(without)),
        ("with / without, median of pairs", median(quotients)),
        ("guard alone, CPU-milliseconds", 1000 * median(result["alone"])),
        ("guard alone / step without", median(result["alone"]) / median(without)),
    ]
    report("guard_cost", {"model": SMALL, **setting}, rows)


if __name__ == "__main__":
    main()
