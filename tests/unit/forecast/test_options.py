"""What does not fit is said with ways that would."""

from dataclasses import replace

import pytest

from nt_lightning.errors import UserError
from nt_lightning.forecast.memory import memory_of
from nt_lightning.forecast.options import options, refuse, verdict
from nt_lightning.student.loading import LoRA
from tests.tiny import save_tiny_student
from tests.unit.forecast.setups import setup_for


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    name = save_tiny_student(tmp_path_factory.mktemp("student"), num_hidden_layers=3)
    return setup_for(name, lengths=(400, 300, 300), labels=900, on_gpu=True)


@pytest.fixture(scope="module")
def memory(setup):
    return memory_of(setup)


def test_what_fits_is_not_spoken_of(setup, memory):
    assert refuse(setup, memory, memory.total, 400) is None
    assert verdict(memory, memory.total) == "is tight"
    assert verdict(memory, 2 * memory.total) == "fits"


def test_too_much_is_a_warning_with_all_ways(setup, memory):
    said = refuse(setup, memory, memory.total - 1, 400)
    arguments = [
        "--model.activation_checkpointing true",
        "--trainer.strategy fsdp2 --trainer.devices 2",
        "--model.lora.r 16 (",
        "--model.lora.r 16 --model.quantization 4bit",
        "--data.max_tokens 500",
    ]
    places = [said.index(argument) for argument in arguments]
    assert places == sorted(places)
    assert said.startswith("may run out of memory")


def test_weights_alone_too_large_is_an_error(setup, memory):
    with pytest.raises(UserError, match="cannot be trained so.*weights, gradients"):
        refuse(setup, memory, memory.fixed - 1, 400)


def test_each_way_is_its_own_forecast(setup, memory):
    found = list(options(setup, memory.total, 400))
    assert found[0].memory == memory_of(replace(setup, checkpointing=1))
    assert found[2].memory == memory_of(replace(setup, checkpointing=1, lora=LoRA()))
    assert all(option.memory.total < memory.total for option in found)


def test_devices_are_doubled_until_it_fits(setup, memory):
    room = memory.fixed // 2
    (shared,) = [o for o in options(setup, room, 400) if "share" in o.what]
    assert shared.memory.total > 0.9 * room  # activations alone are more
    assert "--trainer.devices 8 --trainer.num_nodes 64" in shared.arguments


def test_ways_already_taken_are_not_named(setup):
    taken = replace(setup, checkpointing=1, lora=LoRA(r=4), quantization="4bit")
    assert [o.arguments for o in options(taken, 1, 400)] == ["--data.max_tokens 500"]
    assert list(options(taken, 1, 1000)) == []
