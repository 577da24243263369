"""Steps and the slowest device, by counting."""

import numpy as np
import pytest

from nt_lightning.data.plan import plan_epoch
from nt_lightning.forecast.flops import Work
from nt_lightning.forecast.steps import Limits, run_of, slowest_of_steps

WORK = Work(forward=10.0, trained=30.0, head=6.0, attention={None: 2.0})


@pytest.fixture(scope="module")
def traces():
    rng = np.random.default_rng(3)
    lengths = rng.integers(5, 60, 90)
    return lengths, lengths // 2


@pytest.fixture(scope="module")
def plan(traces):
    return plan_epoch(*traces, max_tokens=64, bins_per_step=5, seed=0, epoch=0)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_the_slowest_device_by_a_loop(plan, traces, world_size):
    flops = WORK.model_flops(*traces)
    wanted = []
    for step in range(plan.num_steps):
        total = 0.0
        for micro in range(plan.micro_batches(world_size)):
            bins = [plan.bin_at(step, micro * world_size + rank) for rank in range(world_size)]
            total += max(flops[plan.rows(b)].sum() if b >= 0 else 0.0 for b in bins)
        wanted.append(total)
    assert slowest_of_steps(plan, flops, world_size) == pytest.approx(np.array(wanted))


def run(plan, traces, limits, world_size=2):
    sizes = {"world_size": world_size, "checkpointing": 0}
    return run_of(plan, *traces, WORK, limits=limits, **sizes)


def test_one_device_computes_everything(plan, traces):
    found = run(plan, traces, Limits(3, -1), world_size=1)
    assert found.slowest_flops == pytest.approx(found.model_flops)
    assert found.model_flops == pytest.approx(3 * WORK.model_flops(*traces).sum())
    assert found.steps == 3 * plan.num_steps
    assert found.idle_share == plan.idle_share(1)


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        (Limits(2, -1), lambda n: 2 * n),
        (Limits(2, 3), lambda n: 3),
        (Limits(-1, 7), lambda n: 7),
        (Limits(2, -1, 7), lambda n: 2 * 2),  # seven micro-batches are two steps of three
        (Limits(2, -1, 0.5), lambda n: 2 * (3 * n // 2 // 3)),
    ],
)
def test_where_a_trainer_ends(plan, traces, limits, steps):
    found = run(plan, traces, limits)
    assert found.steps == steps(plan.num_steps)
    assert found.epochs == pytest.approx(found.steps / plan.num_steps)


def test_part_of_an_epoch_is_its_first_steps(plan, traces):
    flops = WORK.model_flops(*traces)
    first = slowest_of_steps(plan, flops, 2)
    found = run(plan, traces, Limits(9, plan.num_steps + 2))
    assert found.slowest_flops == pytest.approx(first.sum() + first[:2].sum())
