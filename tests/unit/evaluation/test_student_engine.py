"""What the engine in this process says of its student, and what it learns about the memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from peft import LoraConfig, PeftModel, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from transformers import AutoModelForCausalLM, AutoTokenizer

from nt_lightning.evaluation.engine import Limits, Prompt, Sampling
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.student.evaluated import EvaluatedStudent
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sharding import is_sharded
from nt_lightning.traces.formatting import PromptFormatter
from tests.tiny import save_tiny_student

YARN = {
    **{"rope_type": "yarn", "rope_theta": 10000.0},
    **{"factor": 4.0, "original_max_position_embeddings": 1024},
}
PRECISIONS = [("bf16-mixed", "bfloat16"), ("32", "float32")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_student(tmp_path_factory.mktemp("student"))


def load(folder: str | Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def about(model: Any, folder: str, **options: Any) -> dict[str, Any]:
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(folder))
    return StudentEngine(model, formatter, 2, **options).about()


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("llama", {"rope_parameters": YARN}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}}),
        ("llama", {"rms_norm_eps": 1e-5}),
        ("llama", {"max_position_embeddings": 512}),
        ("mistral", {"sliding_window": 9}),
        ("gemma2", {"final_logit_softcapping": 20.0}),
        ("gemma2", {"attn_logit_softcapping": 20.0}),
    ],
)
def test_another_configuration_of_the_same_weights_is_another_student(
    tmp_path: Path, family: str, change: dict[str, Any]
) -> None:
    one = save_tiny_student(tmp_path / "one", family)
    other = tmp_path / "other"
    shutil.copytree(one, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | change))
    first, second = about(load(one), one), about(load(other), one)
    assert first.pop("config") != second.pop("config")
    assert first == second  # the weights are the same


def test_a_copy_in_another_folder_is_the_same_student(tmp_path: Path, folder: str) -> None:
    model = load(folder)
    model.save_pretrained(tmp_path / "copy")
    again = load(tmp_path / "copy", attn_implementation="eager")
    assert about(again, folder) == about(model, folder) == about(load(folder), folder)
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    changed = config | {"transformers_version": "4.0.0", "architectures": ["Other"]}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(changed))
    assert about(load(tmp_path / "copy"), folder) == about(model, folder)


def adapted(folder: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    values: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **values | changes)
    return get_peft_model(load(folder), config).eval()


def test_the_scale_of_adapters_is_part_of_the_student(tmp_path: Path, folder: str) -> None:
    model = adapted(folder)
    own = about(model, folder)
    assert about(adapted(folder), folder) == own
    for change in ({"lora_alpha": 16}, {"use_rslora": True}):
        other = about(adapted(folder, **change), folder)
        assert other["weights"] == own["weights"]
        assert other["config"] != own["config"]
    model.save_pretrained(tmp_path / "adapters")
    copied = shutil.copytree(folder, tmp_path / "base")
    again = PeftModel.from_pretrained(load(copied), tmp_path / "adapters").eval()
    assert about(again, folder) == own


# -- what is computed in -------------------------------------------------------------------------


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def said_and_computed(module: EvaluatedStudent, folder: str, precision: Any) -> tuple[str, str]:
    """The dtype by ``about`` and that of a layer's output while a response is generated."""
    module.trainer = Trainer(accelerator="cpu", precision=precision, logger=False)
    module.configure_model()
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(folder))
    computed = set()
    with module.engine(formatter, 2) as engine:
        layers: Any = [m for n, m in engine.model.named_modules() if n.endswith("mlp.down_proj")]
        hook = layers[0].register_forward_hook(lambda *call: computed.add(str(call[-1].dtype)))
        sampling = Sampling(3, 0.0, 1.0, 0)
        prompts = [Prompt("p", (5, 6), "")]
        engine.generate(prompts, sampling, Limits(), lambda *_: None, lambda _: None)
        hook.remove()
        (dtype,) = computed
        return engine.about()["dtype"], dtype.removeprefix("torch.")


@pytest.mark.parametrize(("precision", "dtype"), PRECISIONS)
@pytest.mark.parametrize("lora", [None, LoRA(r=2)])
def test_the_dtype_is_what_is_computed_in(
    folder: str, lora: LoRA | None, precision: str, dtype: str
) -> None:
    module = EvaluatedStudent(folder, lora)
    assert said_and_computed(module, folder, precision) == (dtype, dtype)


@pytest.mark.parametrize(("precision", "dtype"), PRECISIONS)
def test_a_quantised_student_computes_in_its_own_dtype(
    folder: str, precision: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layers give back the dtype that they are given, so their products are looked at."""
    original, products = bitsandbytes.matmul_4bit, set()

    def spy(inputs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        products.add(str(inputs.dtype))
        return original(inputs, *args, **kwargs)  # type: ignore[no-any-return]

    monkeypatch.setattr(bitsandbytes, "matmul_4bit", spy)
    module = EvaluatedStudent(folder, LoRA(r=2), "4bit")
    assert said_and_computed(module, folder, precision)[0] == dtype
    assert products == {f"torch.{dtype}"}


@pytest.mark.parametrize(("precision", "dtype"), PRECISIONS)
def test_a_sharded_student_computes_under_autocast(
    group: None, folder: str, precision: str, dtype: str
) -> None:
    module = EvaluatedStudent(folder)
    names = ("data_parallel", "tensor_parallel")
    module._device_mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=names)
    assert said_and_computed(module, folder, precision) == (dtype, dtype)
    assert is_sharded(module.model)
    assert module.model.dtype == torch.float32


# -- batches -------------------------------------------------------------------------------------


def test_the_batch_size_that_fits_is_kept(folder: str) -> None:
    model = load(folder)
    engine = StudentEngine(model, PromptFormatter(AutoTokenizer.from_pretrained(folder)), 8)
    sizes: list[int] = []

    def check(_: Any, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError

    model.register_forward_pre_hook(check, with_kwargs=True)
    prompts = [Prompt(str(n), (5 + n, 6), "") for n in range(9)]
    for first in (8, 2):
        sizes.clear()
        engine.generate(
            prompts, Sampling(3, 0.0, 1.0, 0), Limits(), lambda *_: None, lambda _: None
        )
        assert max(sizes) == first
        assert engine.batch_size == 2
