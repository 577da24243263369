"""One step is one step: the same gradients and weights however it is divided."""

import pytest
import torch

from tests import forked
from tests.integration.training import DEVICES, on_one_rank, train
from tests.tiny import save_tiny_pool, save_tiny_student

# What a key's bias adds to dimensions that are not rotated changes nothing: its gradient there is
# rounding, which AdamW follows.
ALL_ROTATED = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 1.0,
    }
}
FAMILIES = {
    **dict.fromkeys(("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral"), {}),
    "phi": ALL_ROTATED,  # biases, of the head, too
    "gpt_neox": {**ALL_ROTATED, "num_key_value_heads": None, "tie_word_embeddings": False},
}
TRACES = 4 + 10 * 8 + 5  # validation, ten steps, an uneven last one


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normalisation")
    return save_tiny_student(folder / "student"), save_tiny_pool(folder / "pool", TRACES)


@pytest.fixture(scope="module")
def one_row_a_step(places):
    return train(*places, traces_per_bin=8)


def assert_same(ours, theirs):
    for mine, wanted in zip(ours, theirs, strict=True):
        assert mine.keys() == wanted.keys()
        for name in mine:
            assert (mine[name] - wanted[name]).norm() <= 1e-5 * wanted[name].norm(), name


@pytest.mark.parametrize("traces_per_bin", [4, 1])
def test_micro_batches(places, one_row_a_step, traces_per_bin):
    assert_same(train(*places, traces_per_bin=traces_per_bin), one_row_a_step)


def several_processes(places, out, traces_per_bin, strategy, variant="full"):
    arguments = (*places, out, traces_per_bin, strategy, variant)
    forked.ranks(DEVICES[strategy], out.with_suffix(".log"), on_one_rank, *arguments)
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("traces_per_bin", [8, 4, 1])
def test_two_processes(places, one_row_a_step, tmp_path, traces_per_bin, strategy):
    """On gloo; eight to a bin leaves one of the two ranks a filler in every step."""
    found = several_processes(places, tmp_path / "result.pt", traces_per_bin, strategy)
    assert_same(found, one_row_a_step)


@pytest.mark.parametrize("variant", ["checkpointing", "every second layer", "lora", "qlora"])
def test_variants_of_a_sharded_student(places, tmp_path, variant):
    expected = train(*places, traces_per_bin=8, variant=variant)
    found = several_processes(places, tmp_path / "result.pt", 2, "fsdp2", variant)
    assert_same(found, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_divided_over_two_devices(places, tmp_path, family):
    student = save_tiny_student(tmp_path / "student", family, **FAMILIES[family])
    expected = train(student, places[1], traces_per_bin=8)
    found = several_processes((student, places[1]), tmp_path / "result.pt", 4, "1x2")
    assert_same(found, expected)


@pytest.mark.parametrize("variant", ["checkpointing", "lora"])
def test_layers_divided_and_shared_out_over_four_devices(places, tmp_path, variant):
    expected = train(*places, traces_per_bin=8, variant=variant)
    found = several_processes(places, tmp_path / "result.pt", 2, "2x2", variant)
    assert_same(found, expected)


def test_dropout_drops_the_same_on_devices_that_compute_a_row_together(places, tmp_path):
    """The script compares what they have; masks of one process are others."""
    several_processes(places, tmp_path / "result.pt", 4, "1x2", "lora with dropout")


def test_the_comparison_sees_a_wrong_scale(one_row_a_step):
    gradients, weights = one_row_a_step
    wrong = {name: value * 1.001 for name, value in gradients.items()}
    with pytest.raises(AssertionError):
        assert_same((wrong, weights), one_row_a_step)
