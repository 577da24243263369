"""A sound recipe passes every check; a planted defect fails its own check, and no other."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from nt_lightning.data import batch, datamodule, mask_checks
from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.data.loader import PlanSampler, ResumableLoader
from nt_lightning.data.plan import EpochPlan
from nt_lightning.data.selections import RandomSelection
from nt_lightning.doctor import room
from nt_lightning.doctor.examination import CHECKS, line, run_check, run_doctor
from nt_lightning.doctor.finding import Finding, NotChecked, difference
from nt_lightning.doctor.subject import examine, sample_rows
from nt_lightning.errors import UserError
from nt_lightning.student import attention, hf_folder, loss
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sft import MaskedSFT
from tests.tiny import save_tiny_pool, save_tiny_student
from tests.unit.doctor.recipes import ForgetsRanks, MeanOfMeans, NeverStops


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return save_tiny_pool(tmp_path_factory.mktemp("pool") / "pool")


@pytest.fixture(autouse=True)
def attention_as_it_was():
    yield
    attention.register()  # a test may have registered a broken one


def trainer_of(folder, precision="32-true"):
    return Trainer(
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )


def data_of(pool, student, selection=RandomSelection):
    return selection(pool, student, num_val=4, max_tokens=256, tokens_per_step=512)


def verdicts(folder, pool, student, module=None, data=None, precision="32-true"):
    """Each check's verdict and finding."""
    module = module or MaskedSFT(student)
    data = data or data_of(pool, student)
    subject = examine(trainer_of(folder, precision), module, data)
    return {name: run_check(name, check, subject) for name, check in CHECKS.items()}


def failing(found):
    return {name for name, checked in found.items() if checked.verdict != "pass"}


# -- sound -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "precision", "options"),
    [
        ("llama", "32-true", {}),
        ("gemma2", "bf16-mixed", {}),  # sliding windows, two softcaps
        ("qwen3", "32-true", {"lora": LoRA(r=4, lora_dropout=0.5)}),
        ("llama", "32-true", {"lora": LoRA(r=4), "quantization": "4bit"}),
        ("llama", "bf16-mixed", {"activation_checkpointing": True}),
    ],
)
def test_a_sound_recipe_passes(tmp_path, pool, family, precision, options):
    student = save_tiny_student(tmp_path / "student", family, attention_dropout=0.3)
    module = MaskedSFT(student, **options)
    found = verdicts(tmp_path, pool, student, module, precision=precision)
    assert not failing(found), [line(checked).plain for checked in found.values()]
    assert found["masks"].detail == "64 traces, 7 checks each"
    assert "60 traces counted" in found["plan counts"].detail
    assert found["fused loss"].finding.allowed == 1e-4
    assert found["accumulation"].finding.allowed == (1e-5 if precision == "32-true" else 5e-2)
    assert attention.NT_VARLEN in found["attention"].detail


# -- planted defects -------------------------------------------------------------------------------


def leaking(module, *arguments, cu_seq_lens_q=None, **rest):
    """All of a row is one trace: each sees those in front of it."""
    return NT_VARLEN(module, *arguments, **rest)


def unscaled(module, *arguments, scaling=None, **rest):
    return NT_VARLEN(module, *arguments, scaling=1.0, **rest)


NT_VARLEN = attention.nt_varlen


@pytest.mark.parametrize(
    ("kernel", "wanted"), [(leaking, "packed = single"), (unscaled, "attention")]
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_attention(tmp_path, pool, student, monkeypatch, kernel, wanted, precision):
    with monkeypatch.context() as patch:
        patch.setattr(attention, "nt_varlen", kernel)
        found = verdicts(tmp_path, pool, student, precision=precision)
    assert failing(found) == {wanted}
    assert found[wanted].finding.value > found[wanted].finding.allowed


@pytest.mark.parametrize(
    ("module", "wanted"), [(MeanOfMeans, "accumulation"), (ForgetsRanks, "world size")]
)
def test_the_scale_of_a_step(tmp_path, pool, student, module, wanted):
    assert failing(verdicts(tmp_path, pool, student, module(student))) == {wanted}


def test_ranks_that_lose_a_bin(tmp_path, pool, student, monkeypatch):
    """A step of three bins on two ranks has two micro-batches each, not one."""
    monkeypatch.setattr(
        EpochPlan, "micro_batches", lambda self, size: max(1, self.bins_per_step // size)
    )
    found = verdicts(tmp_path, pool, student)
    assert failing(found) == {"world size"}
    assert 0.01 < found["world size"].finding.value < 10


def test_steps_that_depend_on_the_ranks(tmp_path, pool, student, monkeypatch):
    """Four ranks have the plan's steps in another order."""
    given = PlanSampler.__iter__

    def other_steps(self):
        for micro in given(self):
            step = micro.step ^ 1 if self.world_size == 4 else micro.step
            yield micro._replace(step=min(step, self.plan.num_steps - 1))

    monkeypatch.setattr(PlanSampler, "__iter__", other_steps)
    found = verdicts(tmp_path, pool, student)
    assert failing(found) == {"world size"}
    assert found["world size"].finding.value >= 2
    assert found["world size"].finding.allowed == 0


def test_a_plan_that_counts_wrongly(tmp_path, pool, student, monkeypatch):
    given = datamodule.plan_epoch

    def one_more(*arguments, **options):
        plan = given(*arguments, **options)
        labels = plan.labels_per_step.copy()
        labels[1] += 1
        return dataclasses.replace(plan, labels_per_step=labels)

    monkeypatch.setattr(datamodule, "plan_epoch", one_more)
    assert failing(verdicts(tmp_path, pool, student)) == {"plan counts"}


def test_a_loader_that_repeats_a_bin(tmp_path, pool, student, monkeypatch):
    """On one rank alone, so that the ranks' comparison has nothing to say."""
    given = EpochPlan.rows
    monkeypatch.setattr(EpochPlan, "rows", lambda self, index: given(self, max(1, index)))
    assert "plan counts" in failing(verdicts(tmp_path, pool, student))


def test_a_mask_off_by_one(tmp_path, pool, student, monkeypatch):
    """The plan's counts are then another number than the batches', too."""

    def one_too_many(ids, positions, num_prompt):
        return np.where(positions <= num_prompt, IGNORE_INDEX, ids)

    for module in (batch, mask_checks):
        monkeypatch.setattr(module, "labels_of", one_too_many)
    found = verdicts(tmp_path, pool, student)
    assert failing(found) == {"masks", "plan counts"}
    assert found["masks"].finding.value == 64


def test_traces_without_a_stop_token(tmp_path, pool, student):
    found = verdicts(tmp_path, pool, student, data=data_of(pool, student, NeverStops))
    assert failing(found) == {"masks"}
    assert found["masks"].detail.startswith("stop: not of 64 of 64 traces (sum-0")


def forgets_place(self, state):
    self.plan_sampler.set_epoch(state["epoch"])


def forgets_epoch(self, state):
    self.plan_sampler.start = self._skip = state["batches"]


@pytest.mark.parametrize("restore", [forgets_place, forgets_epoch])
def test_a_loader_that_forgets(tmp_path, pool, student, monkeypatch, restore):
    monkeypatch.setattr(ResumableLoader, "load_state_dict", restore)
    assert failing(verdicts(tmp_path, pool, student)) == {"resume order"}


def drops_a_label(rows, targets, head, buffers):
    each, grad = CHUNK_LOSS(rows, targets, head, buffers)
    each[:1], grad[:1] = 0, 0
    return each, grad


def scales_a_gradient(rows, targets, head, buffers):
    each, grad = CHUNK_LOSS(rows, targets, head, buffers)
    return each, grad * 1.001


CHUNK_LOSS = loss._chunk_loss


@pytest.mark.parametrize("broken", [drops_a_label, scales_a_gradient])
def test_a_loss_that_is_not_cross_entropy(tmp_path, pool, student, monkeypatch, broken):
    monkeypatch.setattr(loss, "_chunk_loss", broken)
    assert failing(verdicts(tmp_path, pool, student)) == {"fused loss"}


def test_an_export_of_other_weights(tmp_path, pool, student, monkeypatch):
    """``export`` itself compares what it wrote with what it meant to write: the same, here."""
    given = hf_folder._model_of

    def changed(*arguments):
        model = given(*arguments)
        with torch.no_grad():
            next(model.parameters())[5] *= 1.5
        return model

    monkeypatch.setattr(hf_folder, "_model_of", changed)
    found = verdicts(tmp_path, pool, student)
    assert failing(found) == {"export"}
    assert found["export"].finding.value > 1e-3


def test_an_export_that_proves_itself_wrong(tmp_path, pool, student, monkeypatch):
    given = hf_folder._reload

    def changed(folder):
        model = given(folder)
        model.model.norm.weight.data.mul_(2)
        return model

    monkeypatch.setattr(hf_folder, "_reload", changed)
    found = verdicts(tmp_path, pool, student)
    assert failing(found) == {"export"}
    assert "gives other logits than the checkpoint" in found["export"].detail


# -- the report ------------------------------------------------------------------------------------


def test_what_has_no_room_is_not_checked(tmp_path, pool, student, monkeypatch):
    class Little:
        available = 1000

    monkeypatch.setattr(room.psutil, "virtual_memory", Little)
    trainer, data = trainer_of(tmp_path), data_of(pool, student)
    assert run_doctor(trainer, MaskedSFT(student), data)
    done = {check["name"]: check for check in read(tmp_path)["checks"]}
    left_out = {name for name, check in done.items() if check["verdict"] == "not checked"}
    assert left_out == {"accumulation", "world size", "export"}
    assert "GB are free in the memory of cpu" in done["export"]["detail"]
    assert done["export"]["value"] is None


def read(folder):
    return json.loads((folder / "doctor.json").read_text())


def test_one_line_a_check_and_a_file(tmp_path, pool, student, capsys):
    assert not run_doctor(trainer_of(tmp_path), MeanOfMeans(student), data_of(pool, student))
    lines = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in lines if row[:4] in ("pass", "FAIL")].count("pass") == 8
    (broken,) = (row for row in lines if row.startswith("FAIL"))
    assert broken.split()[1] == "accumulation"
    assert "(allowed 1e-05)" in broken
    assert lines[-1].startswith("1 of 9 checks fail: accumulation; ")
    kept = read(tmp_path)
    assert [check["name"] for check in kept["checks"]] == list(CHECKS)
    assert {check["verdict"] for check in kept["checks"]} == {"pass", "FAIL"}
    assert kept["attention"]["name"] == attention.NT_VARLEN
    assert kept["precision"] == "float32"


def test_a_check_that_breaks_is_a_failure_and_hides_no_other(tmp_path, pool, student, monkeypatch):
    def broken(subject):
        raise RuntimeError("sizes differ\nmore")

    monkeypatch.setitem(CHECKS, "attention", broken)
    found = verdicts(tmp_path, pool, student)
    assert failing(found) == {"attention"}
    assert found["attention"].detail == "RuntimeError: sizes differ"


def test_what_cannot_be_examined_is_refused(tmp_path, pool, student):
    data = data_of(pool, student)
    with pytest.raises(UserError, match="doctor examines MaskedSFT on a selection .* not Boring"):
        examine(trainer_of(tmp_path), type("Boring", (torch.nn.Module,), {})(), data)


def test_a_number_that_is_none_fails():
    assert not Finding(float("nan"), 1e-5, "").passed
    assert Finding(1e-5, 1e-5, "").passed
    assert difference(torch.zeros(3), torch.zeros(3)) == 0
    assert difference(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 4.0])) == 0.75
    assert difference(torch.ones(3), torch.zeros(3)) == float("inf")
    assert np.isnan(difference(torch.tensor([float("nan")]), torch.ones(1)))
    assert run_check("x", lambda _: (_ for _ in ()).throw(NotChecked("a")), None).detail == "a"


def test_traces_of_the_sample_by_hand():
    lengths = np.array([50, 10, 40, 20, 30, 99])
    assert sample_rows(lengths, 400).tolist() == [1, 4, 2, 5]  # 10, 30, 40, 99
    assert sample_rows(lengths, 80).tolist() == [1, 3, 4, 2]  # the shortest, though too long
    assert sample_rows(np.array([7, 5]), 400).tolist() == [1, 0]
