"""Students that two processes have trained under fsdp2, exported by one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from nt_lightning.evaluation.engine import Limits, Prompt, Sampling
from nt_lightning.evaluation.server import Server
from nt_lightning.evaluation.server_engine import ServerEngine
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.models import load_tokenizer
from nt_lightning.student.export import export
from nt_lightning.student.loading import LoRA, load_student
from nt_lightning.student.sharding import lent
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES, THINK_MODES_FILE, ThinkModes
from tests import forked
from tests.integration.saved import train
from tests.servers.real import transformers_serve
from tests.tiny import save_tiny_pool, save_tiny_student

LAST = "checkpoints/last.ckpt"
IDS = (5, 9, 80, 120, 7, 33, 250)
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LoRA(r=4)},
    "qlora": {"lora": LoRA(r=4), "quantization": "4bit"},
}
pytestmark = pytest.mark.timeout(600)


class Logits(Callback):
    """What the trained student itself answers, while its weights are shared out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad(), lent(pl_module.model, "eager") as model:
            found = model(torch.tensor([IDS]), use_cache=False).logits[0].float()
        if trainer.global_rank == 0:
            torch.save(found, self.path)


def logits(folder: Path) -> torch.Tensor:
    """Of an exported folder, as a user loads it."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.tensor([IDS]), use_cache=False).logits[0].float()  # type: ignore[no-any-return]


def gap(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative difference."""
    return float((ours - theirs).norm() / theirs.norm())


def of_two_ranks(student: str, pool: str, folder: Path) -> int:
    """Train every variant."""
    for name, options in VARIANTS.items():
        keep = (Logits(folder / f"{name}.pt"),)
        seen = train(
            student, pool, folder / name, strategy="fsdp2", max_steps=6, more=keep, **options
        )
        if os.environ["LOCAL_RANK"] == "0":
            torch.save(seen.end, folder / f"{name}-weights.pt")
    return 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: Any) -> Path:
    """A run of each variant: ``<variant>.pt`` has its logits, ``<variant>-weights.pt`` the weights.

    Weights that were trained, put together by DTensor's own gathering and not by the checkpoint.
    """
    folder: Path = tmp_path_factory.mktemp("sharded")
    student, pool = save_tiny_student(folder / "student"), save_tiny_pool(folder / "pool")
    forked.ranks(2, folder / "log", of_two_ranks, student, pool, folder)
    return folder


@pytest.mark.parametrize(
    ("variant", "merge_lora"), [("full", True), ("lora", True), ("lora", False)]
)
def test_the_folder_answers_as_the_shared_student(
    runs: Path, tmp_path: Path, variant: str, merge_lora: bool
) -> None:
    checkpoint = runs / variant / LAST
    assert (checkpoint / "shard-00001.pt").is_file()
    export(str(checkpoint), str(tmp_path / "out"), "float32", merge_lora)
    trained = torch.load(runs / f"{variant}.pt", weights_only=True)
    assert gap(logits(tmp_path / "out"), trained) < 1e-5
    assert gap(logits(runs / "student"), trained) > 1e-4  # training has moved it


def test_adapters_of_a_packed_base_are_added_to_its_unpacked_weights(
    runs: Path, tmp_path: Path
) -> None:
    """W + lora_alpha / r * B A by hand; what was trained itself computes in bfloat16."""
    lora: LoRA = VARIANTS["qlora"]["lora"]
    expected = load_student(str(runs / "student"), quantization="4bit").dequantize().float()
    unpacked = {name: value.clone() for name, value in expected.state_dict().items()}
    trained = torch.load(runs / "qlora-weights.pt", weights_only=True)
    names = {name.partition(".lora_")[0] for name in trained}
    assert len(names) == 14
    for name in names:
        low, high = (trained[f"{name}.lora_{part}.default.weight "] for part in "AB")
        target = name.removeprefix("model.base_model.model.") + ".weight"
        expected.state_dict()[target] += lora.lora_alpha / lora.r * high @ low
    export(str(runs / "qlora" / LAST), str(tmp_path / "out"), "float32")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for name, value in saved.items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-6, atol=1e-6)
    moved = [float((value - unpacked[name]).abs().max()) for name, value in saved.items()]
    assert sum(most > 1e-4 for most in moved) == 14  # a hundred times what is tolerated
    answers = torch.load(runs / "qlora.pt", weights_only=True)
    assert gap(logits(tmp_path / "out"), answers) < 0.05


@pytest.mark.slow  # a server is started
def test_a_server_reads_the_folder(runs: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    export(str(runs / "full" / LAST), folder, "float32")
    formatter = PromptFormatter(load_tokenizer(folder))
    modes = ThinkModes.load(tmp_path / "out" / THINK_MODES_FILE)
    prompts = []
    for name in MODE_NAMES:
        question, mode = "What is 3 + 4?", modes[name]
        ids, text = formatter.prompt_ids(question, mode), formatter.prompt_text(question, mode)
        prompts.append(Prompt(name, tuple(ids), text, mode.prefix))
    greedy = Sampling(max_new_tokens=40, temperature=0.0, top_p=1.0, seed=0)

    def texts(engine: Any) -> list[tuple[str, int, str]]:
        said = engine.generate(prompts, greedy, Limits(), lambda *_: None, lambda _: None)
        return [(one.text, one.num_tokens, one.finish_reason) for one in said]

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with transformers_serve(folder, tmp_path / "serve.log") as there:
        server = Server(there.model, there.base_url, prompts="text", concurrency=1)
        served = texts(ServerEngine(server, formatter, "llama"))
    assert served == texts(StudentEngine(model, formatter, 8))
    assert all(count > 1 for _, count, _ in served)
