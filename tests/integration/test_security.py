"""Nothing that is read runs code, and no key is written anywhere."""

from __future__ import annotations

import ast
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.models import load_tokenizer
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO, check_checkpoint
from nt_lightning.student.loading import load_student, outline_student
from nt_lightning.student.sealed import write_hashed, write_manifest, write_sealed
from nt_lightning.student.shards import META, shard_name
from nt_lightning.student.trained import read_checkpoint
from nt_lightning.traces.pool import Pool, write_pool
from tests.integration.command import ROOT, nt, write_recipe
from tests.tiny import save_tiny_student, tiny_rows

MARK = "NT_TEST_MARK"


def leave_a_mark() -> None:
    """What an attacker's code does here."""
    Path(os.environ[MARK]).touch()


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return leave_a_mark, ()


class Trap(dict[str, Any]):
    """Leaves a mark when it is made; named in places where nothing may be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        leave_a_mark()


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that executed code would leave; the bomb is live, and none went off."""
    path = tmp_path / "executed"
    monkeypatch.setenv(MARK, str(path))
    pickle.loads(pickle.dumps(Bomb()))
    assert path.exists()
    path.unlink()
    yield path
    assert not path.exists()


def bomb_file(folder: Path, kind: str) -> Path:
    """A checkpoint with a bomb in it, sealed as an attacker can seal one."""
    path, bomb = folder / "last.ckpt", {"state_dict": {}, "nt_lightning": Bomb()}
    if kind == "file":
        write_sealed(bomb, path)
        return path
    path.mkdir()
    parts = {META: {"state_dict": {}}, shard_name(0): {}}
    parts[META if kind == "outline" else shard_name(0)] = bomb
    files = {name: write_hashed(content, path / name) for name, content in parts.items()}
    write_manifest(path, files, {})
    return path


@pytest.mark.parametrize("kind", ["file", "outline", "shards"])
def test_checkpoints(tmp_path: Path, mark: Path, kind: str) -> None:
    path = bomb_file(tmp_path, kind)
    check_checkpoint(path)  # the seal is whole
    with pytest.raises(UserError, match="is no checkpoint"):
        read_checkpoint(path)
    with pytest.raises(UserError, match="is no checkpoint"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert not mark.exists()
    live = {"file": path, "outline": path / META, "shards": path / shard_name(0)}[kind]
    torch.load(live, weights_only=False)
    assert mark.exists()  # the bomb is live
    mark.unlink()


def test_a_plain_pickle(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(UserError):
        read_checkpoint(path)


@pytest.mark.parametrize("command", ["fit", "test", "export"])
def test_commands_that_take_a_checkpoint(tmp_path: Path, command: str) -> None:
    recipe = write_recipe(tmp_path)
    path = bomb_file(tmp_path, "file")
    how = ["--output", tmp_path / "out"] if command == "export" else ["--config", recipe]
    done = nt(command, *how, "--ckpt_path", path, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(path) in done.stderr


def test_a_checkpoint_names_no_class(tmp_path: Path, mark: Path) -> None:
    """Hyper-parameters with ``class_path`` and ``_target_``, in a checkpoint that is whole."""
    recipe = write_recipe(tmp_path)
    nt("fit", "--config", recipe, "--trainer.max_epochs", 1)
    (whole,) = (tmp_path / "runs").rglob("last.ckpt")
    content = torch.load(whole, weights_only=True)
    trap = f"{__name__}.Trap"
    named = {"class_path": trap, "_target_": trap, "_class_path": trap, "init_args": {}}
    content["hyper_parameters"] = named | {"model": named, "_instantiator": f"{__name__}.Trap"}
    content["datamodule_hyper_parameters"] = named
    content["nt_lightning"]["think_modes"] |= {"class_path": trap}
    torch.save(content, whole)
    AtomicCheckpointIO().save_checkpoint(content, whole)
    done = nt("fit", "--config", recipe, "--ckpt_path", whole, check=False)
    assert "hyper_parameters" not in done.stderr
    nt("export", "--ckpt_path", whole, "--output", tmp_path / "out", check=False)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_model_folders(tmp_path: Path) -> None:
    """Pickled weights, and code that a configuration asks for."""
    student = Path(save_tiny_student(tmp_path / "student"))
    (student / "model.safetensors").unlink()
    (student / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises((UserError, pickle.UnpicklingError)):
        load_student(str(student))

    coded = Path(save_tiny_student(tmp_path / "coded"))
    (coded / "custom.py").write_text(f"from {__name__} import leave_a_mark\nleave_a_mark()\n")
    config = json.loads((coded / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "custom.C", "AutoModelForCausalLM": "custom.M"}}
    (coded / "config.json").write_text(json.dumps(config | {"model_type": "unknown_type"}))
    for load in (load_student, outline_student):
        with pytest.raises(UserError):
            load(str(coded))

    named = Path(save_tiny_student(tmp_path / "named"))
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        content = json.loads((named / name).read_text())
        trap = {"class_path": f"{__name__}.Trap", "_target_": f"{__name__}.Trap"}
        (named / name).write_text(json.dumps(content | trap))
    load_student(str(named))
    load_tokenizer(str(named))


def test_pools(tmp_path: Path) -> None:
    """A pickled type in the schema, names of classes in the lineage, and a pickle for a table."""
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb()),
    }
    rows = tiny_rows(8)
    evil = rows.cast(pa.schema([field.with_metadata(extension) for field in rows.schema]))
    trap = {"class_path": f"{__name__}.Trap", "_target_": f"{__name__}.Trap"}
    write_pool(evil, tmp_path / "pool", {"made_by": trap, **trap})
    pool = Pool(tmp_path / "pool")
    assert pool.manifest["lineage"]["class_path"] == trap["class_path"]
    assert len(pool.read()) == 8
    (shard,) = (tmp_path / "pool").glob("*.parquet")
    pq.write_table(evil, tmp_path / "evil.parquet")
    assert len(pq.read_table(tmp_path / "evil.parquet")) == 8
    shard.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError):
        Pool(tmp_path / "pool")


def test_arrays_hold_no_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(tmp_path / "evil.npy")


FORBIDDEN = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "marshal.loads"}


def test_no_call_that_could_run_what_it_reads() -> None:
    """In the source: no unpickling, no unsafe YAML, no unsafe flag."""
    files = [
        file
        for part in ("nt_lightning", "callbacks", "evals")
        for file in (ROOT / part).rglob("*.py")
    ]
    assert len(files) > 200
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            where = f"{file}:{node.lineno}"
            assert ast.unparse(node.func) not in FORBIDDEN, where
            flags = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert flags.get("weights_only") is not False, where
            assert flags.get("allow_pickle") is not True, where
            assert flags.get("trust_remote_code") is not True, where
            if ast.unparse(node.func) == "torch.load":
                assert flags.get("weights_only") is True, where


CANARY = "canary-0123456789-secret"
KEYS = ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "NT_API_KEY")


def test_keys_of_the_environment_are_written_nowhere(tmp_path: Path) -> None:
    """fit, test and export with keys in the environment: not in a file, not in the output."""
    recipe = write_recipe(tmp_path)
    env = {**dict.fromkeys(KEYS, CANARY), "NT_CACHE": str(tmp_path / "cache")}
    fit = nt("fit", "--config", recipe, "--trainer.max_epochs", 1, **env)
    (last,) = (tmp_path / "runs").rglob("last.ckpt")
    export = nt("export", "--ckpt_path", last, "--output", tmp_path / "out", **env)
    wrong = nt("fit", "--config", recipe, "--model.lrr", 1, check=False, **env)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 15
    said = [text for done in (fit, export, wrong) for text in (done.stdout, done.stderr)]
    for text in [*said, *(path.read_bytes().decode("latin-1") for path in files)]:
        assert CANARY not in text
