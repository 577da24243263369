"""Losses by mode and teacher, against sums by hand."""

from types import SimpleNamespace

import pytest
import torch

from nt_lightning.student.meter import GroupedLoss
from nt_lightning.traces.modes import MODE_NAMES


@pytest.mark.parametrize("copies", [1, 2])
def test_means_of_groups_and_the_number_of_labels(copies):
    """Two traces of a row; a label's position says to which of them it belongs."""
    batch = SimpleNamespace(
        cu_seqlens=torch.tensor([0, 4, 9]),
        modes=torch.tensor([0, 2]),
        teachers=torch.tensor([1, 1]),
    )
    loss = SimpleNamespace(
        positions=torch.tensor([2, 3, 4, 8]), per_label=torch.tensor([1.0, 2.0, 4.0, 9.0])
    )
    meter = GroupedLoss(["one", "two"], copies)
    for _ in range(copies):  # ranks that read the same row
        meter.update(batch, loss)
    found = {name: float(value) for name, value in meter.compute().items()}
    assert found == {
        "loss": 4.0,
        "num_labels": 4.0,
        f"loss/{MODE_NAMES[0]}": 1.5,
        f"loss/{MODE_NAMES[2]}": 6.5,
        "loss/teacher/two": 4.0,
    }
