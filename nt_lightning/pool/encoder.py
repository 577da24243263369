"""The model that embeds questions: where it comes from, and how it is loaded safely."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nt_lightning.errors import UserError
from nt_lightning.files import digest, sha256_file
from nt_lightning.models import WHEEL_ENCODERS, WHEEL_MODELS, cannot_be_loaded, folder_of_wheel

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# what an encoder is loaded from: safetensors and no other weights, no code
ENCODER_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
OTHER_FORMATS = ("onnx/*", "openvino/*", "original/*", "consolidated*")


def encoder_path(name: str) -> Path:
    """Folder of a model that is to embed texts; what is not here yet is fetched.

    Args:
        name: Hub id, folder, or a key of ``WHEEL_ENCODERS`` or ``WHEEL_MODELS``.

    Raises:
        UserError: There is no such model, or it has no safetensors.
    """
    wheels = {**WHEEL_MODELS, **WHEEL_ENCODERS}
    if name in wheels:
        return folder_of_wheel(name, wheels[name])
    folder = Path(name) if Path(name).is_dir() else _from_hub(name)
    if not any((folder / file).is_file() for file in ("config.json", "modules.json")):
        raise UserError(_missing(name, f"{folder} has no config.json"))
    if not any(folder.rglob("*.safetensors")):
        raise UserError(_missing(name, f"{folder} has no *.safetensors"))
    return folder


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
    from safetensors import SafetensorError

    for pickled in folder.rglob("*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise UserError(_missing(name, f"{pickled} is no safetensors"))
    own = (folder / "modules.json").is_file()
    try:
        model = _as_it_is(folder) if own else _mean_of_tokens(folder)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(_missing(name, error)) from None
    _prepare_tokenizer(model, name, own)
    if own_limit := token_limit(model):
        model.max_seq_length = min(max_tokens, own_limit)
    return model.eval()


def token_limit(model: SentenceTransformer) -> int | None:
    """Tokens that an encoder takes of a text, special ones too; ``None`` without such a limit."""
    if not hasattr(getattr(model[0], "tokenizer", None), "model_max_length"):
        return None
    return int(model.max_seq_length or sys.maxsize)


def _missing(name: str, error: Exception | str) -> str:
    return cannot_be_loaded(name, error, "safetensors", [*WHEEL_ENCODERS, *WHEEL_MODELS])


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
        raise UserError(_missing(name, problem)) from None
    except HFValidationError:
        raise UserError(_missing(name, "no such folder, and it is no Hub id")) from None
    except RepositoryNotFoundError:
        raise UserError(_missing(name, "the Hub shows no such model")) from None
    except (OSError, ValueError) as error:
        raise UserError(_missing(name, error)) from None


def _options() -> tuple[dict[str, Any], dict[str, Any]]:
    """How anything is loaded, without code of its own, and weights as float32 safetensors."""
    import torch

    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    return safe, {**safe, "use_safetensors": True, "dtype": torch.float32}


def _as_it_is(folder: Path) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    safe, weights = _options()
    return SentenceTransformer(
        str(folder), device="cpu", model_kwargs=weights, processor_kwargs=safe, **safe
    )


def _mean_of_tokens(folder: Path) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    safe, weights = _options()
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
            raise UserError(_missing(name, "its tokenizer has neither pad nor eos token"))
        tokenizer.pad_token = tokenizer.eos_token  # masked, so any token does
    if not own:
        tokenizer.padding_side = "right"  # absolute positions begin at a text's first token
