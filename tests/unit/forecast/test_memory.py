"""Memory against what a real step allocates, and its parts against values by hand."""

from dataclasses import replace

import pytest
import torch

from nt_lightning.forecast.activations import _peaks, _worst, step_memory
from nt_lightning.forecast.memory import memory_of
from nt_lightning.student.loading import LoRA
from tests.tiny import save_tiny_student
from tests.unit.forecast.measured import measured
from tests.unit.forecast.setups import setup_for

LENGTHS, LABELS = (500, 300, 224), 700


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """4.6 million weights in six layers, 2,048 words."""
    return save_tiny_student(
        tmp_path_factory.mktemp("student"),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=6,
        head_dim=64,
        vocab_size=2048,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(
    ("dtype", "checkpointing", "lora"),
    [
        (torch.float32, 0, None),
        (torch.float32, 2, None),
        (torch.bfloat16, 0, None),
        (torch.bfloat16, 1, None),
        (torch.bfloat16, 1, LoRA(r=8)),
        (torch.float32, 0, LoRA(r=8)),
    ],
)
def test_a_step_takes_what_is_forecast(student, dtype, checkpointing, lora):
    setup = setup_for(
        student,
        dtype=dtype,
        checkpointing=checkpointing,
        lora=lora,
        lengths=LENGTHS,
        labels=LABELS,
    )
    memory = memory_of(setup)
    peak, fixed = measured(setup)
    assert memory.fixed == fixed
    assert sum(step_memory(setup)) == pytest.approx(peak, rel=0.05)


@pytest.mark.parametrize("every", [0, 1])
def test_layers_are_alike(student, every):
    """What two and four layers tell of six is what six have."""
    setup = setup_for(student, checkpointing=every, dtype=torch.bfloat16, on_gpu=True)
    assert step_memory(setup) == _worst(_peaks(setup, 6))


def test_a_kernel_keeps_no_scores(student):
    long = setup_for(student, lengths=(4096,), labels=1, on_gpu=True)
    short = replace(long, lengths=(256,) * 16)
    assert step_memory(long) == step_memory(short)


def test_parts_under_fsdp2(tiny):
    """One layer has 12,288 + 24,576 + 128 weights; words and last norm have 22,400 + 64."""
    layer, rest = 12_288 + 24_576 + 128, 350 * 64 + 64
    setup = setup_for(tiny, strategy="fsdp2", world_size=2, dtype=torch.bfloat16)
    memory = memory_of(setup)
    assert memory.weights == 4 * (2 * layer + rest) // 2
    assert memory.gradients == memory.weights
    assert memory.optimizer == 2 * memory.weights
    assert memory.gathered_layers == 2 * 2 * layer + 4 * layer
    assert memory.gathered_rest == 4 * rest
    several = memory_of(replace(setup, bins_per_step=3))
    assert several.gradients == memory.gradients + 4 * (2 * layer + rest)
    assert memory.buckets == 0


def test_parts_under_ddp(tiny):
    one = memory_of(setup_for(tiny))
    two = memory_of(setup_for(tiny, strategy="ddp", world_size=2))
    assert two.buckets == one.gradients == one.weights == one.optimizer // 2
    assert two._replace(buckets=0) == one


def test_more_recomputation_is_less_memory(student):
    setup = setup_for(student, lengths=LENGTHS, labels=LABELS)
    totals = [memory_of(replace(setup, checkpointing=every)).total for every in (1, 2, 0)]
    assert totals == sorted(totals)
    assert totals[0] < 0.8 * totals[-1]


def test_packed_weights_are_unpacked_one_at_a_time(student):
    setup = setup_for(student, lora=LoRA(r=8), dtype=torch.bfloat16, on_gpu=True)
    packed = memory_of(replace(setup, quantization="4bit"))
    assert packed.unpacked == 2 * 640 * 256
    assert packed.weights < memory_of(setup).weights / 2
    assert packed.total < memory_of(setup).total
