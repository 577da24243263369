"""Sharded checkpoints are read without running what is in them."""

import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.distributed import checkpoint as dcp

from nt_lightning.errors import UserError
from nt_lightning.student.shards import ShardedTensors, ShardReader, load_shards

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def folder(tmp_path):
    model = torch.nn.Linear(3, 2).to(torch.bfloat16)
    state = {
        "state_dict": {"model.a": torch.arange(6.0).view(2, 3), "model.b": model.weight.data},
        "optimizer": {"lr": 0.5, "betas": (0.9, 0.95), "step": torch.tensor(3), "fused": None},
    }
    dcp.save(state, checkpoint_id=tmp_path / "c", no_dist=True)
    return tmp_path / "c", state


def test_everything_comes_back(folder):
    place, state = folder
    found = {
        "state_dict": {key: torch.zeros_like(value) for key, value in state["state_dict"].items()},
        "optimizer": {"lr": 0.0, "betas": (0, 0), "step": torch.tensor(0), "fused": True},
    }
    load_shards(found, place)
    for key, value in state["state_dict"].items():
        assert torch.equal(found["state_dict"][key], value)
    assert found["optimizer"] == state["optimizer"]


def test_one_tensor_at_a_time(folder):
    place, state = folder
    tensors = ShardedTensors(place, "state_dict.model.")
    assert sorted(tensors) == ["a", "b"]
    assert tensors.shape("a") == (2, 3)
    assert torch.equal(tensors["b"], state["state_dict"]["model.b"])
    assert tensors["b"].dtype == torch.bfloat16


def test_metadata_runs_no_code(folder, tmp_path):
    place, _ = folder
    mark = tmp_path / "executed"
    (place / ".metadata").write_bytes(pickle.dumps(Bomb(mark)))
    pickle.loads((place / ".metadata").read_bytes())
    assert mark.exists()  # the bomb is live
    mark.unlink()
    with pytest.raises(UserError, match="posix.system"):
        ShardReader(place).read_metadata()
    with pytest.raises(UserError, match="posix.system"):
        load_shards({"state_dict": {}}, place)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["os.system", "torch.load", "torch.nn.Linear", "builtins.eval"])
def test_metadata_names_descriptions_alone(folder, name):
    place, _ = folder
    module, _, attribute = name.rpartition(".")
    text = f"c{module}\n{attribute}\n.".encode()
    (place / ".metadata").write_bytes(text)
    with pytest.raises(UserError, match=name):
        ShardReader(place).read_metadata()


def test_values_run_no_code(folder, tmp_path):
    """torch's own writer pickles what is no tensor; the reader must not unpickle it."""
    mark = tmp_path / "executed"
    dcp.save({"optimizer": {"lr": Bomb(mark)}}, checkpoint_id=tmp_path / "evil", no_dist=True)
    theirs = {"optimizer": {"lr": 0.0}}
    dcp.load(theirs, checkpoint_id=tmp_path / "evil", no_dist=True)
    assert mark.exists()  # the bomb is live in torch's own reader
    mark.unlink()
    with pytest.raises(UserError, match="evil"):
        load_shards({"optimizer": {"lr": 0.0}}, tmp_path / "evil")
    assert not mark.exists()


def test_damaged_metadata(folder):
    place, _ = folder
    whole = (place / ".metadata").read_bytes()
    for damaged in (b"", whole[:40], pickle.dumps({"a": 1}), io.BytesIO(whole).read()[1:]):
        (place / ".metadata").write_bytes(damaged)
        with pytest.raises(UserError, match="sharded checkpoint"):
            ShardReader(place).read_metadata()
    (place / ".metadata").unlink()
    with pytest.raises(UserError, match="sharded checkpoint"):
        ShardReader(place).read_metadata()
