"""The guard's judgement, against lists of numbers; a refused step changes nothing, to the bit."""

import copy
import json
import math
from statistics import median_low

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from nt_lightning.errors import UserError
from nt_lightning.student.bad_steps import BadStep, NonFiniteStep, Step
from nt_lightning.student.guard import Guard, StepGuard
from nt_lightning.student.optim import PaperAdamW, hold_back

NAN, INF = math.nan, math.inf


def step(number):
    return Step(number, 0, np.arange(number))


def judge_all(guard, norms, first=1):
    """Of every norm: whether it was refused, and what the host learned of it."""
    found = []
    for number, norm in enumerate(norms, first):
        refused = guard.judge(torch.tensor(norm), step(number), over_ranks=False)
        assert refused.dtype == torch.float32
        assert refused.ndim == 0
        assert float(refused) in (0.0, 1.0)
        found.append((bool(refused), guard.settle()))
    return found


# -- the judgement ---------------------------------------------------------------------------------


def test_nan_and_inf_by_hand():
    settings = Guard(policy="skip", max_skipped=2)
    found = judge_all(StepGuard(settings), [1.0, NAN, 9e9, INF, 2.0, -INF, 1.0])
    assert [refused for refused, _ in found] == [False, True, False, True, False, True, True]
    learned = [bad and (bad.step.number, bad.kind, bad.ends_run) for _, bad in found]
    assert learned == [
        None,
        (2, "nan", False),
        None,
        (4, "inf", False),
        None,
        (6, "inf", True),  # the third of two that may be skipped
        None,  # held back because the run ends, not because it is bad
    ]
    assert all(bad is None or (bad.norm is None and bad.limit is None) for _, bad in found)


def test_stop_ends_at_the_first():
    guard = StepGuard(Guard())
    [good, (refused, bad), after] = judge_all(guard, [1.0, NAN, 1.0])
    assert good == (False, None)
    assert refused
    assert bad.ends_run
    assert after[0]


def naive(norms, factor, window):
    """Spikes by the definition: a list, sorted anew for every step."""
    taken, refused = [], []
    for norm in norms:
        last = taken[-window:]
        spike = len(last) == window and norm > factor * median_low(last)
        refused.append(spike or not math.isfinite(norm))
        if not refused[-1]:
            taken.append(norm)
    return refused


@pytest.mark.parametrize("window", [1, 2, 5, 16])
def test_spikes_are_those_of_the_definition(window):
    rng = np.random.default_rng(window)
    norms = rng.lognormal(0, 0.5, 300).astype(np.float32)
    norms[rng.integers(0, 300, 20)] *= 50
    norms[rng.integers(0, 300, 5)] = NAN
    norms = [float(norm) for norm in norms]
    settings = Guard(policy="skip", max_skipped=300, spike=3.0, window=window)
    found = judge_all(StepGuard(settings), norms)
    expected = naive(norms, 3.0, window)
    assert [refused for refused, _ in found] == expected
    assert 10 < sum(expected) < 200
    for norm, (refused, bad) in zip(norms, found, strict=True):
        assert refused == (bad is not None)
        if bad is not None and bad.kind == "spike":
            assert bad.norm == norm > bad.limit


def test_the_host_learns_of_a_step_when_it_asks():
    guard = StepGuard(Guard(policy="skip"))
    assert guard.settle() is None
    guard.judge(torch.tensor(NAN), step(1), over_ranks=False)
    bad = guard.settle()
    assert (bad.step.number, bad.kind) == (1, "nan")
    assert guard.settle() is None


def test_a_resumed_guard_judges_as_if_it_had_not_stopped():
    rng = np.random.default_rng(0)
    norms = [float(n) for n in rng.lognormal(0, 1, 60)]
    norms[20] = NAN
    settings = Guard(policy="skip", max_skipped=6, spike=4.0, window=8)
    whole = judge_all(StepGuard(settings), norms)
    assert any(bad is not None and bad.ends_run for _, bad in whole[31:])
    for stop in (3, 30):
        before, after = StepGuard(settings), StepGuard(settings)
        judge_all(before, norms[:stop])
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        found = judge_all(after, norms[stop:], first=stop + 1)
        described = [(refused, bad and bad[1:]) for refused, bad in found]
        assert described == [(refused, bad and bad[1:]) for refused, bad in whole[stop:]]


def test_a_smaller_limit_on_resume_waits_for_the_next_bad_step():
    before = StepGuard(Guard(policy="skip", max_skipped=5))
    judge_all(before, [NAN, NAN, 1.0])
    after = StepGuard(Guard())
    after.load_state_dict(before.state_dict())
    assert [refused for refused, _ in judge_all(after, [1.0, 1.0])] == [False, False]
    [(refused, bad)] = judge_all(after, [INF])
    assert refused
    assert bad.ends_run


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("policy", "ignore", "stop, skip"),
        ("max_skipped", 0, "1 and more"),
        ("window", 0, "1 and more"),
        ("spike", 1.0, "more than 1, or null"),
        ("spike", NAN, "more than 1, or null"),
    ],
)
def test_settings_out_of_range(name, value, allowed):
    with pytest.raises(UserError, match=rf"model.guard.{name} is .*{value}.*; allowed: {allowed}"):
        Guard(**{name: value})


# -- the update ------------------------------------------------------------------------------------


def adamw_8bit(params):
    bnb = pytest.importorskip("bitsandbytes")
    return bnb.optim.AdamW8bit(params, lr=0.1, min_8bit_size=16)


OPTIMIZERS = {
    "paper": PaperAdamW,
    "fused adam, amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, fused=True),
    "plain": lambda p: torch.optim.AdamW(p, lr=0.1, fused=False, foreach=False),
    "fused sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "8 bit": adamw_8bit,
}


def run(make, gradients, refused):
    """Weights and optimizer state after steps of given gradients; copies after each step."""
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 64)), torch.nn.Parameter(torch.ones(3))]
    optimizer = make(weights)
    kept = []
    for gradient, flag in zip(gradients, refused, strict=True):
        for weight in weights:
            weight.grad = torch.full_like(weight, gradient)
        if flag is not None:
            hold_back(optimizer, torch.tensor(float(flag)))
        optimizer.step()
        optimizer.zero_grad()
        kept.append((copy.deepcopy(weights), copy.deepcopy(optimizer.state_dict()["state"])))
    return kept


def assert_equal(ours, theirs):
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_refused_step_changes_no_bit(name):
    """The run has the same weights and states as one in which the step never was."""
    make = OPTIMIZERS[name]
    plain = run(make, [0.5, -0.2, 0.1], [None, None, None])
    held = run(make, [NAN, 0.5, INF, -0.2, 0.1, NAN], [1, 0, 1, 0, 0, 1])
    for ours, theirs in zip((1, 2, 3, 4, 5), (0, 0, 1, 2, 2), strict=True):
        assert_equal(held[ours], plain[theirs])
    with pytest.raises(AssertionError):  # the comparison sees a step that was taken
        assert_equal(held[3], plain[0])


def test_a_checkpoint_of_a_plain_optimizer_in_a_fused_one():
    """Loading puts the saved ``fused`` over the constructor's; the flag is heeded all the same."""
    weight = torch.nn.Parameter(torch.ones(4))
    plain = torch.optim.AdamW([weight], foreach=False, fused=False)
    weight.grad = torch.ones(4)
    plain.step()
    optimizer = PaperAdamW([weight])
    optimizer.load_state_dict(plain.state_dict())
    before = weight.detach().clone()
    weight.grad = torch.full((4,), NAN)
    hold_back(optimizer, torch.tensor(1.0))
    optimizer.step()
    assert torch.equal(weight, before)


def test_no_value_is_read_on_the_host():
    """Fake tensors have no values: whoever asks for one fails."""
    with FakeTensorMode():
        weight = torch.nn.Parameter(torch.ones(4))
        weight.grad = torch.ones(4)
        guard = StepGuard(Guard(policy="skip", spike=3.0))
        fused, plain = PaperAdamW([weight]), torch.optim.AdamW([weight], fused=False)
        for number in (1, 2):
            norm = torch.nn.utils.get_total_norm([weight.grad])
            refused = guard.judge(norm, step(number), over_ranks=False)
            hold_back(fused, refused)
            fused.step()
        with pytest.raises(DataDependentOutputException):
            hold_back(plain, refused)
        with pytest.raises(DataDependentOutputException):
            guard.settle()


# -- the report ------------------------------------------------------------------------------------


def test_the_file_has_a_line_for_every_bad_step(tmp_path):
    path = tmp_path / "run" / "bad_steps.jsonl"
    BadStep(step(3), "nan", None, None, False).note(path, ["ä"])
    BadStep(step(7), "spike", 12.5, 5.0, True).note(path, ["b"])
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {
            "step": 3,
            "epoch": 0,
            "kind": "nan",
            "norm": None,
            "limit": None,
            "trace_ids": ["ä"],
        },
        {"step": 7, "epoch": 0, "kind": "spike", "norm": 12.5, "limit": 5.0, "trace_ids": ["b"]},
    ]
    assert [file.name for file in path.parent.iterdir()] == ["bad_steps.jsonl"]


def test_the_error_names_step_file_and_traces(tmp_path):
    bad = BadStep(step(7), "spike", 12.5, 5.0, True)
    error = NonFiniteStep(bad, [f"t{i}" for i in range(25)], tmp_path / "bad_steps.jsonl")
    assert "the gradient of step 7 has norm 12.5, a spike above 5" in str(error)
    assert str(tmp_path / "bad_steps.jsonl") in str(error)
    assert "t19 ..." in str(error)
    assert (error.step, len(error.trace_ids)) == (7, 25)
    bad = BadStep(step(2), "inf", None, None, True)
    assert "the gradient of step 2 is not finite (inf)" in str(NonFiniteStep(bad, [], tmp_path))
