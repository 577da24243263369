"""python -m tests.benchmarks.loss_head [--precision bf16]

``next_token_loss`` forward and backward, against full logits with ``cross_entropy`` on every
position and against the floor: the three matrix products on labelled rows alone (logits, gradient
of the rows, gradient of the weight). Gradients are equal first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.student.head import Head
from nt_lightning.student.loss import next_token_loss
from tests.benchmarks.protocol import (
    Meter,
    Result,
    alternate,
    fresh_process,
    median_of,
    ratio,
    report,
)

NAME = "tests.benchmarks.loss_head"
ROWS, HIDDEN, VOCABULARY, MASKED = 2_048, 576, 49_152, 0.25
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}  # of the gradient's norm
REPEATS = 4

Inputs = tuple[Tensor, Tensor, Tensor]


def make_inputs() -> Inputs:
    """Hidden states, head and labels; the first quarter is masked."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, HIDDEN, generator=draw)
    weight = torch.randn(VOCABULARY, HIDDEN, generator=draw) * 0.05
    labels = torch.randint(VOCABULARY, (ROWS,), generator=draw)
    labels[: int(ROWS * MASKED)] = IGNORE_INDEX
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def ours(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The library's loss, summed."""
    loss = next_token_loss(hidden, labels, Head(weight)).total
    loss.backward()
    return loss


def full_logits(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """What a plain loop does."""
    logits = F.linear(hidden[:-1], weight).float()
    loss = F.cross_entropy(logits, labels[1:], ignore_index=IGNORE_INDEX, reduction="sum")
    loss.backward()
    return loss


class Products:
    """The floor: no loss, only its three matrix products, into memory that is there already."""

    def __init__(self) -> None:
        self.out: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """Logits of labelled rows, then what would be the gradients if they were the logits'."""
        dtype = (
            torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
        )
        rows, matrix = hidden[labels != IGNORE_INDEX].to(dtype), weight.to(dtype)
        if self.out is None:
            self.out = (rows.new_empty(len(rows), VOCABULARY), rows.clone(), matrix.clone())
        logits, grad_rows, grad_weight = self.out
        torch.mm(rows, matrix.T, out=logits)
        torch.mm(logits, matrix, out=grad_rows)
        torch.mm(logits.T, rows, out=grad_weight)
        return grad_weight


SIDES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ours": ours,
    "full-logits": full_logits,
    "products": Products(),
}


def run(side: str, precision: str) -> Result:
    """Time a side, after one call that only warms up."""
    inputs = make_inputs()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        SIDES[side](*inputs)
        _drop_gradients(inputs)
        with Meter() as meter:
            for _ in range(REPEATS):
                _drop_gradients(inputs)
                SIDES[side](*inputs)
    return meter.result()


def gradient_gap(precision: str) -> float:
    """Largest relative difference of the two gradients, ours against full logits."""
    gradients = []
    for side in (ours, full_logits):
        hidden, weight, labels = make_inputs()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            side(hidden, weight, labels)
        gradients.append((hidden.grad, weight.grad))
    gap = max(float((a - b).norm() / b.norm()) for a, b in zip(*gradients, strict=True))
    assert gap <= TOLERANCE[precision], f"gradients differ by {gap}"
    return gap


def _drop_gradients(inputs: Inputs) -> None:
    for tensor in inputs:
        tensor.grad = None


def main() -> None:
    """Measure one side, or compare all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=list(TOLERANCE), default="fp32")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", choices=list(SIDES), help="measure this side alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.side:
        print(json.dumps(run(args.side, args.precision)))
        return
    rows: list[tuple[str, object]] = [("largest gradient gap", gradient_gap(args.precision))]
    results = alternate(
        list(SIDES),
        lambda side: fresh_process(NAME, side, {"precision": args.precision}),
        args.pairs,
    )
    for side in SIDES:
        rows.append((f"{side}, CPU-s per call", median_of(results[side], "cpu_s") / REPEATS))
        rows.append((f"{side}, extra MiB", median_of(results[side], "extra_mib")))
    rows.append(
        ("full-logits / ours", str(ratio(results["full-logits"], results["ours"], "cpu_s")))
    )
    rows.append(("ours / products", str(ratio(results["ours"], results["products"], "cpu_s"))))
    report("loss_head", {"precision": args.precision, "pairs": args.pairs}, rows)


if __name__ == "__main__":
    main()
