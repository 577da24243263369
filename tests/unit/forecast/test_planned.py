"""Devices of a recipe, GPUs of the table, optimizers and what is not allowed."""

from types import SimpleNamespace

import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.forecast import device as devices
from nt_lightning.forecast.device import GIB, GPUS, Gpu, device_of
from nt_lightning.forecast.planned import planned_of
from nt_lightning.forecast.setup import state_bytes, strategy_name
from nt_lightning.student.optim import PaperAdamW
from nt_lightning.student.strategies import FSDP2Strategy


def planned(gpu="auto", **given):
    values = {"accelerator": "auto", "devices": "auto", "num_nodes": 1, "strategy": "auto"}
    return planned_of(SimpleNamespace(**{**values, "precision": None, **given}), gpu)


@pytest.mark.parametrize(
    ("given", "number"),
    [("auto", 1), (-1, 1), (8, 8), ("8", 8), ("0,3", 2), ([0, 1, 5], 3), ([4], 1), ("[4]", 4)],
)
def test_devices_are_counted(given, number):
    assert planned(devices=given).world_size == number
    assert planned(devices=given, num_nodes=3).world_size == 3 * number


def test_a_gpu_is_planned_where_none_is():
    assert not planned(accelerator="cpu").on_gpu
    assert planned(accelerator="cpu", gpu="h100").on_gpu
    assert planned(accelerator="gpu").on_gpu


@pytest.mark.parametrize("given", [0, "many", "-3"])
def test_what_are_no_devices(given):
    with pytest.raises(UserError, match="trainer.devices is"):
        planned(devices=given)


def test_the_table_is_what_may_be_said():
    assert {*GPUS, "auto"} == set(Gpu.__args__)
    found = device_of("h200", None, None, on_gpu=True, per_node=8)
    assert found == ("NVIDIA H200", 139 * GIB, 989e12)
    assert device_of("h200", 800, 96, on_gpu=True, per_node=8)[1:] == (96 * GIB, 800e12)


@pytest.mark.parametrize(("name", "tflops"), [("L40S", 362), ("L4", 121), ("H100 PCIe", 756)])
def test_a_gpu_at_hand_is_known_by_its_name(monkeypatch, name, tflops):
    about = SimpleNamespace(name=f"NVIDIA {name}", total_memory=5)
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "get_device_properties", lambda _: about)
    found = device_of("auto", None, None, on_gpu=True, per_node=1)
    assert found == (f"NVIDIA {name}", 5, tflops * 1e12)


def test_nothing_is_made_up():
    assert device_of("auto", None, None, on_gpu=False, per_node=1).peak is None
    if not torch.cuda.is_available():
        assert device_of("auto", None, None, on_gpu=True, per_node=1) == ("GPU", None, None)
    with pytest.raises(UserError, match="--memory_gb is 0"):
        device_of("h100", None, 0, on_gpu=True, per_node=1)


@pytest.mark.parametrize(
    ("optimizer", "size"),
    [
        (lambda p: PaperAdamW(p), 8),
        (lambda p: torch.optim.SGD(p, 0.1), 0),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), 4),
    ],
)
def test_states_of_optimizers(optimizer, size):
    assert state_bytes(optimizer) == size


def test_states_in_eight_bits():
    from bitsandbytes.optim import AdamW8bit

    assert state_bytes(lambda p: AdamW8bit(p)) == pytest.approx(2, abs=0.1)


def test_an_optimizer_that_cannot_be_tried():
    def broken(_):
        raise RuntimeError("needs a GPU")

    with pytest.raises(UserError, match=r"model\.optimizer cannot be tried.*needs a GPU"):
        state_bytes(broken)


def test_strategies():
    assert strategy_name("auto", 1) == "one device"
    assert strategy_name("auto", 4) == strategy_name("ddp_spawn", 4) == "ddp"
    assert {strategy_name(s, 4) for s in ("fsdp2", "fsdp", FSDP2Strategy())} == {"fsdp2"}
    with pytest.raises(UserError, match="'deepspeed'; allowed: auto, ddp or fsdp2"):
        strategy_name("deepspeed", 4)
