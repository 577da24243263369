"""Runs stopped at random places and resumed, until they end; then compared with an undisturbed one.

    python -m tests.stops --stops 20

A small student with dropout is trained by the command line's own ``fit``: several micro-batches a
step, a schedule, a validation and a benchmark every few steps, several epochs. SIGKILL, SIGTERM
and SIGINT come in steps, at both ends of an epoch, in evaluations and savings, and anywhere. The
next run goes on with ``--ckpt_path last``. At the end weights, moments and schedule have to be
those of the undisturbed run to the bit, and every micro-batch, also one that was run twice, has to
have had the same traces.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from nt_lightning.__main__ import main as nt_lightning_main
from nt_lightning.files import sweep
from nt_lightning.runs import CHECKPOINTS, LAST
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from tests import forked
from tests.integration.command import write_recipe
from tests.telling import EVALUATE_EVERY, STOPPED, Place

Batches = dict[tuple[int, int], list[str]]

EPOCHS = 4
MICRO_BATCHES = 4
SAVE_EVERY = 3  # in the recipe
OPTIONS: dict[str, Any] = {
    "data.tokens_per_step": 256 * MICRO_BATCHES,
    "trainer.max_epochs": EPOCHS,
    "trainer.val_check_interval": MICRO_BATCHES,
    "model.schedule": "cosine",
    "model.warmup_steps": 3,
    "model.optimizer": "nt_lightning.student.optim.PaperAdamW",
    "model.optimizer.lr": 1e-3,
}
# place: the longest time from its beginning to the signal, in seconds
PLACES = {
    "a step's first micro-batch": 0.02,
    "a later micro-batch": 0.02,
    "an epoch's first step": 0.02,
    "an epoch's last step": 0.02,
    "evaluation": 0.1,
    "saving": 0.02,
    "anywhere": 1.0,
}
EXITS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
STOPS_IN_A_RUN = 5
BAD = ("bad_exit", "bad_lost_steps", "bad_other_traces", "bad_other_end")


class Stop(NamedTuple):
    """A signal, and the place that it waits for."""

    place: str
    signal: signal.Signals


def arguments(recipe: Path, folder: Path, pipe: int) -> list[str]:
    """``fit``, from the last checkpoint in ``folder`` if there is one."""
    benchmark = {
        "class_path": "evals.file_benchmark.FileBenchmark",
        "init_args": {"name": "sums", "path": str(recipe.parent / "sums.jsonl"), "kind": "number"},
    }
    evaluation = {
        "benchmarks": [benchmark],
        "modes": ["no_think", "think"],
        "every_n_steps": EVALUATE_EVERY,
        "max_new_tokens": 12,
        "temperature": 0.8,
        "reuse": False,  # every evaluation asks the student
    }
    added = [
        {"class_path": "tests.telling.Tells", "init_args": {"pipe": pipe}},
        {
            "class_path": "callbacks.benchmark_evaluation.BenchmarkEvaluation",
            "init_args": evaluation,
        },
    ]
    options = {**OPTIONS, "trainer.default_root_dir": folder}
    given = [f"--{name}={value}" for name, value in options.items()]
    given += [f"--trainer.callbacks+={json.dumps(callback)}" for callback in added]
    for run in folder.glob("tiny-*"):
        sweep(run / CHECKPOINTS / LAST)  # as --ckpt_path last does
    if last_checkpoints(folder):
        given.append("--ckpt_path=last")
    return ["fit", "--config", str(recipe), *given]


def last_checkpoints(folder: Path) -> list[Path]:
    """``last.ckpt`` of the runs in a folder."""
    return [*folder.glob(f"tiny-*/{CHECKPOINTS}/{LAST}")]


def fit(recipe: Path, folder: Path, tells: Connection) -> int:
    """What a user would start."""
    return nt_lightning_main(arguments(recipe, folder, tells.fileno()))


def start(recipe: Path, folder: Path) -> tuple[ForkServerProcess, IO[str]]:
    """A run, and the end of a pipe that tells where it is."""
    folder.mkdir(exist_ok=True)
    told, tells = forked.context.Pipe(duplex=False)
    with told, tells:
        process = forked.start(folder / "log", fit, recipe, folder, tells)
        return process, os.fdopen(os.dup(told.fileno()))


def places(told: IO[str], seen: list[Place]) -> Iterator[Place]:
    """What a run tells, also added to ``seen``, until it ends."""
    for line in told:
        seen.append(Place(*json.loads(line)))
        yield seen[-1]


def run(
    recipe: Path, folder: Path, stop: Stop | None, draw: random.Random
) -> tuple[int, list[Place]]:
    """Run, and stop the run if told so; its exit code and the places it has been to."""
    process, told = start(recipe, folder)
    seen: list[Place] = []
    with told:
        coming = places(told, seen)
        if stop is not None:
            met = (place for place in coming if place.name == stop.place)
            passed = 0 if stop.place == "anywhere" else draw.randrange(2)  # that comes once
            if next(itertools.islice(met, passed, None), None):
                time.sleep(draw.uniform(0, PLACES[stop.place]))
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(process.pid, stop.signal)
        for _ in coming:
            pass
    process.join()
    return process.exitcode, seen


def batches(seen: list[Place]) -> Batches:
    """Ids of the micro-batches, by step and place in it.

    Raises:
        ValueError: One was run twice with other traces.
    """
    found: Batches = {}
    for _, step, micro_batch, ids in seen:
        if ids and found.setdefault((step, micro_batch), ids) != ids:
            raise ValueError(f"step {step}, micro-batch {micro_batch}: {ids}")
    return found


def end(folder: Path) -> dict[str, Any]:
    """What the last checkpoint of a finished run says of its training."""
    [last] = last_checkpoints(folder)
    content = AtomicCheckpointIO().load_checkpoint(last)
    return {
        name: content[name]
        for name in ("global_step", "state_dict", "optimizer_states", "lr_schedulers")
    }


def is_equal(one: Any, other: Any) -> bool:
    """Whether two nests of containers are the same, tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return bool(one == other)


class Undisturbed(NamedTuple):
    """What every run has to come to."""

    batches: Batches
    end: dict[str, Any]


def stop_one_run(
    recipe: Path, folder: Path, stops: list[Stop], draw: random.Random, wanted: Undisturbed
) -> Counter[str]:
    """Stop a run several times, taking stops from the list, let it end, and compare."""
    total, seen, code, allowed = Counter[str](), [], -1, 0
    while code != 0:
        stop = stops[0] if stops and total["stops"] < STOPS_IN_A_RUN else None
        code, told = run(recipe, folder, stop, draw)
        if seen and told:
            total["bad_lost_steps"] += seen[-1].step - told[0].step > allowed
        seen += told
        if code == 0:
            break
        if stop is None or not told:
            raise RuntimeError((folder / "log").read_text()[-3000:])
        del stops[0]
        allowed = SAVE_EVERY if stop.signal == signal.SIGKILL else 0
        hit = [*itertools.takewhile(lambda place: place.name != STOPPED, told)][-1]
        if code != EXITS[stop.signal]:
            total["bad_exit"] += 1
            print((folder / "log").read_text()[-3000:], file=sys.stderr)
        total += Counter(["stops", f"asked for {stop.place}", f"{stop.signal.name} {hit.name}"])
        print(stop.signal.name, code, *hit[:3], sep=", ", file=sys.stderr, flush=True)
    try:
        total["bad_other_traces"] += batches(seen) != wanted.batches
    except ValueError as error:
        print(error, file=sys.stderr)
        total["bad_other_traces"] += 1
    total["bad_other_end"] += not is_equal(end(folder), wanted.end)
    total["runs"] += 1
    return total


def stop_many(folder: Path, count: int, seed: int) -> Counter[str]:
    """Stop one run after another."""
    recipe, draw = write_recipe(folder), random.Random(seed)
    problems = [{"question": f"What is {i} + 4?", "reference_answer": str(i + 4)} for i in range(4)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    code, seen = run(recipe, folder / "undisturbed", None, draw)
    if code:
        raise RuntimeError((folder / "undisturbed" / "log").read_text()[-3000:])
    wanted = Undisturbed(batches(seen), end(folder / "undisturbed"))
    kinds = [Stop(place, number) for place in PLACES for number in EXITS]
    stops = [*itertools.islice(itertools.cycle(draw.sample(kinds, len(kinds))), count)]
    total = Counter[str]()
    while stops:
        total += stop_one_run(recipe, folder / f"run-{total['runs']}", stops, draw, wanted)
    return total


def table(total: Counter[str]) -> str:
    """Where runs were asked to stop and where each signal met them, and what was bad."""
    columns = [number.name for number in EXITS]
    rows = [f"{'':28}{'asked':>9}" + "".join(f"{name:>9}" for name in columns)]
    for place in PLACES:
        counts = [total[f"asked for {place}"], *(total[f"{name} {place}"] for name in columns)]
        rows.append(f"{place:28}" + "".join(f"{count:9}" for count in counts))
    rows += [f"{name:28}{total[name]:9}" for name in ("stops", "runs", *BAD)]
    return "\n".join(rows)


def main() -> int:
    """Stop, print the table; 1 where anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        os.environ["NT_CACHE"] = str(Path(name) / "cache")
        total = stop_many(Path(name), options.stops, options.seed)
    print(table(total))
    return 1 if any(total[name] for name in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
