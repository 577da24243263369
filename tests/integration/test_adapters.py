"""LoRA and quantised bases: what is trained, what is saved, what comes back."""

import pytest
import torch
from lightning.pytorch import Trainer

from nt_lightning.data.selections import RandomSelection
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sft import MaskedSFT
from tests.tiny import save_tiny_pool, save_tiny_student


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    student = save_tiny_student(folder / "student", tie_word_embeddings=False)
    return student, save_tiny_pool(folder / "pool", 24)


def fit(places, folder, ckpt_path=None, **model):
    student, pool = places
    data = RandomSelection(pool, student, num_val=4, max_tokens=256, tokens_per_step=512)
    module = MaskedSFT(student, optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2), **model)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, module


LORA = LoRA(r=4, lora_alpha=8)


def test_lora_trains_and_saves_adapters_alone(places, tmp_path):
    trainer, module = fit(places, tmp_path, lora=LORA)
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert all(p.abs().sum() > 0 for name, p in module.named_parameters() if "lora_B" in name)
    trainer.save_checkpoint(tmp_path / "lora.ckpt")
    saved = torch.load(tmp_path / "lora.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == trained
    assert saved["nt_lightning"]["think_modes"]["think"]["prefix"] == "<think>"

    again = MaskedSFT(places[0], lora=LORA)
    data = RandomSelection(places[1], places[0], num_val=4, max_tokens=256, tokens_per_step=512)
    checker = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    (after,) = checker.validate(
        again, data, ckpt_path=tmp_path / "lora.ckpt", weights_only=True, verbose=False
    )
    assert after["val/loss"] == pytest.approx(trainer.callback_metrics["val/loss"].item(), rel=1e-5)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_quantised_base_stays_and_its_adapters_learn(places, tmp_path, quantization):
    trainer, module = fit(places, tmp_path, lora=LORA, quantization=quantization)
    kinds = {type(layer).__name__ for layer in module.modules()}
    assert any(name in kinds for name in ("Linear4bit", "Linear8bitLt"))
    first, last = 5.5, trainer.callback_metrics["val/loss"].item()
    assert last < first  # log(350 words) is 5.9


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_an_evaluation_does_not_change_4bit_gradients(places, tmp_path):
    """bitsandbytes repacks 4-bit weights in a forward without gradients on some CPUs."""
    _, module = fit(places, tmp_path, lora=LORA, quantization="4bit")
    ids = torch.arange(3, 43)[None]

    def gradients():
        module.zero_grad()
        module.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        return [p.grad.clone() for p in module.parameters() if p.grad is not None]

    before = gradients()
    module.model.eval()
    with torch.no_grad():
        module.model(input_ids=ids)
    module.model.train()
    for ours, theirs in zip(gradients(), before, strict=True):
        torch.testing.assert_close(ours, theirs)
