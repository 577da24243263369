"""Bad gradients in real runs: no update on any rank, traces written, stop or skip as told."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from transformers import AutoModelForCausalLM

from callbacks.last_checkpoint import LastCheckpoint
from nt_lightning.student.guard import Guard
from nt_lightning.student.loading import LoRA
from tests import forked
from tests.integration.guarded import BAD_STEPS, fit, on_one_rank, small_trainer
from tests.integration.training import FixedPlan
from tests.tiny import save_tiny_pool, save_tiny_student

TRACES = 4 + 10 * 8 + 5  # validation, ten steps, an uneven last one
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    return save_tiny_student(folder / "student"), save_tiny_pool(folder / "pool", TRACES)


@pytest.fixture(scope="module")
def data(places):
    student, pool = places
    data = FixedPlan(pool, student, num_val=4, traces_per_bin=2)
    data.prepare_data()
    data.setup("predict")
    return data


def by_hand(student, data, steps):
    """Weights after some steps of the epoch: plain transformers, a trace at a time, plain AdamW."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        foreach=False,
    )
    plan, traces = data.plan(0), data.traces("train")
    for step in steps:
        examples = [traces[int(row)] for row in plan.step_rows(step - 1)]
        labels = sum(len(e["input_ids"]) - e["num_prompt"] for e in examples)
        for example in examples:
            ids = torch.tensor(example["input_ids"])
            begin = example["num_prompt"]
            logits = model(input_ids=ids[None], use_cache=False).logits[0, begin - 1 : -1]
            (F.cross_entropy(logits, ids[begin:], reduction="sum") / labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {f"model.{name}": p.detach() for name, p in model.named_parameters()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-5 * value.norm(), name


def notes(folder):
    return [json.loads(line) for line in (folder / "bad_steps.jsonl").read_text().splitlines()]


def ids_of(data, step):
    return data.traces("train")[data.plan(0).step_rows(step - 1)]["id"]


# -- two processes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "1x2"])
@pytest.mark.parametrize(
    ("plant", "kind"), [("nan in a loss", "nan"), ("inf in a gradient", "inf")]
)
def test_one_rank_of_two(places, data, tmp_path, strategy, plant, kind):
    """Steps 5 and 9 are bad on one rank; one may be skipped, the other ends the run."""
    log = tmp_path / "log"
    forked.ranks(2, log, on_one_rank, *places, tmp_path, strategy, plant)
    kind = plant[:3]
    taken = [step for step in range(1, 9) if step not in BAD_STEPS]
    expected = by_hand(places[0], data, taken)
    for rank in (0, 1):
        weights, told = torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)
        assert_same(weights, expected)
        assert told["step"] == 9
        assert told["trace_ids"] == ids_of(data, 9)
        assert f"step 9 is not finite ({kind})" in told["message"]
    assert notes(tmp_path) == [
        {
            "step": step,
            "epoch": 0,
            "kind": kind,
            "norm": None,
            "limit": None,
            "trace_ids": ids_of(data, step),
        }
        for step in BAD_STEPS
    ]
    with pytest.raises(AssertionError):  # the comparison sees one step more
        assert_same(weights, by_hand(places[0], data, [*taken, 10]))


# -- one process -----------------------------------------------------------------------------------


class Watch(Callback):
    """Weights and optimizer states around every step, and what it logged."""

    def __init__(self):
        self.changed, self.logged, self.rates = {}, {}, {}

    def capture(self, trainer, module):
        weights = [p.detach().clone() for p in module.parameters() if p.requires_grad]
        return weights, copy.deepcopy(trainer.optimizers[0].state_dict()["state"])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.before = self.capture(trainer, pl_module)
            self.rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        weights, state = self.capture(trainer, pl_module)
        old_weights, old_state = self.before
        step = trainer.global_step
        pairs = [(weights, old_weights)] + ([(state, old_state)] if old_state else [])
        self.changed[step] = [not same(*pair) for pair in pairs]
        self.rates[step] = self.rate
        self.logged[step] = int(trainer.callback_metrics["train/skipped_steps"])


def same(ours, theirs):
    try:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    except AssertionError:
        return False
    return True


def plain(params):
    return torch.optim.AdamW(params, lr=1e-3, foreach=False)


def eight_bit(params):
    bnb = pytest.importorskip("bitsandbytes")
    return bnb.optim.AdamW8bit(params, lr=1e-3)


@pytest.mark.parametrize(
    "options",
    [{}, {"lora": LoRA(r=4)}, {"optimizer": plain}, {"optimizer": eight_bit}],
    ids=["fused", "lora", "no hook", "8 bit"],
)
def test_skipped_steps_change_no_bit(places, data, tmp_path, options):
    """The first, a later and the last step are bad; weights and states around each are compared."""
    watch = Watch()
    _, trainer, end = fit(
        *places,
        tmp_path,
        factors={1: NAN, 6: INF, 11: NAN},
        guard=Guard(policy="skip"),
        callbacks=[watch],
        schedule="linear",
        **options,
    )
    assert end is None
    assert trainer.global_step == 11
    for step, changed in watch.changed.items():
        assert set(changed) == {step not in (1, 6, 11)}, step
    assert watch.logged == {step: 1 + (step >= 6) + (step >= 11) for step in range(1, 12)}
    for step, rate in watch.rates.items():  # the schedule counts them
        assert rate == pytest.approx(1e-3 * (12 - step) / 11)
    assert [note["step"] for note in notes(tmp_path)] == [1, 6, 11]
    assert [note["trace_ids"] for note in notes(tmp_path)] == [
        ids_of(data, step) for step in (1, 6, 11)
    ]


def test_a_spike(places, data, tmp_path):
    module, _, end = fit(
        *places,
        tmp_path,
        factors={4: 1e4, 7: 1e4},
        guard=Guard(policy="skip", spike=10.0, window=5),
    )
    assert end is None
    [note] = notes(tmp_path)  # before step 6 there is no median of five
    assert (note["step"], note["kind"]) == (7, "spike")
    assert note["norm"] > note["limit"] > 0
    weights = {name: p.detach() for name, p in module.named_parameters()}
    without = fit(*places, tmp_path / "without", factors={4: 1e4, 7: NAN}, guard=Guard("skip"))[0]
    for name, parameter in without.named_parameters():
        assert torch.equal(weights[name], parameter), name


@pytest.mark.parametrize("bad", [4, 11])
def test_no_checkpoint_stands_behind_a_step_that_ends_the_run(places, data, tmp_path, bad):
    """In the middle and at the very end; the last one kept is of the step before."""
    _, _, end = fit(
        *places,
        tmp_path,
        factors={bad: NAN},
        guard=Guard(),
        callbacks=[LastCheckpoint(every_n_train_steps=1)],
    )
    assert end.step == bad
    assert str(tmp_path / "bad_steps.jsonl") in str(end)
    [path] = tmp_path.rglob("last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == bad - 1
    weights = checkpoint["state_dict"]
    del weights["model.lm_head.weight"]  # tied
    assert_same(weights, by_hand(places[0], data, range(1, bad)))


def test_the_last_step_is_settled_without_checkpoints(places, data, tmp_path):
    _, _, end = fit(*places, tmp_path, factors={11: NAN}, guard=Guard())
    assert end.step == 11
    assert notes(tmp_path)[0]["trace_ids"] == ids_of(data, 11)


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.should_stop = True


def test_resume_goes_on_counting(places, tmp_path):
    """One may be skipped, and was before the stop: the next, in the second epoch, is the end."""
    settings = {"factors": {3: NAN, 14: NAN}, "guard": Guard("skip", 1), "max_epochs": 2}
    first = [LastCheckpoint(), StopAt(5)]
    _, trainer, end = fit(*places, tmp_path / "a", callbacks=first, **settings)
    assert (trainer.global_step, end) == (5, None)
    [path] = (tmp_path / "a").rglob("last.ckpt")
    _, _, end = fit(*places, tmp_path / "b", ckpt_path=path, **settings)
    assert end.step == 14
    [note] = notes(tmp_path / "b")
    assert (note["step"], note["epoch"]) == (14, 1)


def test_a_second_fit_of_the_same_module_is_not_held_back(places, data, tmp_path):
    module, _, end = fit(*places, tmp_path, factors={2: NAN}, guard=Guard())
    assert end.step == 2
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    module.factors = {}
    student, pool = places
    small_trainer(tmp_path).fit(module, FixedPlan(pool, student, num_val=4, traces_per_bin=2))
    assert not any(torch.equal(before[name], p) for name, p in module.named_parameters())
