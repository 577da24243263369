"""A checkpoint becomes a Hugging Face folder that is the same model, or an error."""

import json
import re
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from nt_lightning.__main__ import main
from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import Result, RunResults, write_results
from nt_lightning.evaluation.statistics import Interval
from nt_lightning.student import hf_folder, shards
from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from nt_lightning.student.export import export
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sealed import write_hashed, write_manifest, write_sealed
from nt_lightning.student.sft import MaskedSFT
from nt_lightning.student.trained import read_checkpoint
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from tests.tiny import save_tiny_student

MODES = ThinkModes().with_num_words(40)
ADAPTERS = LoRA(r=4, lora_alpha=8)


def trained(folder, *, system_prompt=None, lora=None, quantization=None, **config):
    """A module whose weights are no longer the base model's, and what it puts into a checkpoint."""
    name = save_tiny_student(folder / "base", **config)
    module = MaskedSFT(name, lora=lora, quantization=quantization)
    data = SimpleNamespace(modes=MODES, system_prompt=system_prompt, identity={})
    module._trainer = SimpleNamespace(precision="32-true", training=False, datamodule=data)
    module.configure_model()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    content = {"state_dict": module.state_dict(), "global_step": 7, "epoch": 0}
    module.on_save_checkpoint(content)
    return module.model.eval(), content


def save(folder, content):
    path = folder / "run" / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content, path)
    return str(path)


def logits(model, ids=(5, 9, 80, 120, 7)):
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


@pytest.mark.parametrize(
    ("family", "tied"), [("llama", True), ("llama", False), ("gemma2", True), ("qwen3", False)]
)
def test_every_weight_arrives_once(tmp_path, family, tied):
    model, content = trained(tmp_path, family=family, tie_word_embeddings=tied)
    export(save(tmp_path, content), str(tmp_path / "out"), dtype="float32")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    expected = model.state_dict()
    if tied:
        del expected["lm_head.weight"]
    assert saved.keys() == expected.keys()
    for name, value in saved.items():
        assert torch.equal(value, expected[name]), name
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    torch.testing.assert_close(logits(again), logits(model))


def test_the_folder_is_complete(tmp_path, capsys):
    model, content = trained(tmp_path)
    out = tmp_path / "out"
    export(save(tmp_path, content), str(out))
    text = capsys.readouterr().out
    assert re.search(r"96,448 parameters in bfloat16, 0\.000195 GB; .* differ by at most 0\n", text)
    again = AutoModelForCausalLM.from_pretrained(out)
    assert again.dtype == torch.bfloat16
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].to(torch.bfloat16)), name
    assert ThinkModes.load(out / "think_modes.json") == MODES
    formatter = PromptFormatter(AutoTokenizer.from_pretrained(out))
    base = PromptFormatter(AutoTokenizer.from_pretrained(tmp_path / "base"))
    assert formatter.fingerprint() == base.fingerprint()
    modes = {file.stat().st_mode for file in out.iterdir()}
    assert len(modes) == 1


def test_generation_config_stops_and_does_not_sample(tmp_path):
    _, content = trained(tmp_path)
    base = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.9, eos_token_id=0)
    base.save_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.eos_token, tokenizer.pad_token = "<|endoftext|>", None  # not what ends a turn
    tokenizer.save_pretrained(tmp_path / "base")
    export(save(tmp_path, content), str(tmp_path / "out"))
    values = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    values.pop("transformers_version")
    assert values == {"eos_token_id": [2, 0], "pad_token_id": 0}


def result(step, stage, tokens):
    """What an evaluation of fifty problems wrote."""
    values = dict.fromkeys(Result.__dataclass_fields__)
    values |= {"benchmark": "gsm8k", "mode": "think", "stage": stage, "step": step}
    values |= {"num_problems": 50, "accuracy": 0.25, "accuracy_interval": Interval(0.125, 0.375)}
    return Result(**values | {"mean_response_tokens": tokens})


def test_the_card_does_not_give_another_steps_scores_as_its_own(tmp_path):
    _, content = trained(tmp_path)
    path = save(tmp_path, content)
    write_results(tmp_path / "run", RunResults(results=[result(12, "after", 80.0)]))
    export(path, str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text().splitlines()
    assert "Scores of the run's students; this one is of step 7, which was not scored." in card
    assert "| gsm8k | think | after | 12 | 50 | 25.0 % | 12.5 to 37.5 % |  | 80 |" in card


def test_the_card_tells_the_lineage_and_its_code_runs(tmp_path, capsys):
    _, content = trained(tmp_path, system_prompt="Be\nbrief.")
    path = save(tmp_path, content)
    run = tmp_path / "run"
    (run / "plan.json").write_text('{"traces": 40}\n')
    write_results(run, RunResults(results=[result(0, "before", None), result(7, "after", 91.4)]))
    export(path, str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    for line in (
        f"base_model: {tmp_path}/base",
        f"| checkpoint | {path} |",
        "| optimizer steps | 7 |",
        "| stop token | <\\|im_end\\|> |",
        "| system prompt | Be brief. |",
        "| logits after reloading | differ by at most 0 |",
        "| `think` | Think carefully before answering. Use about 40 words | `<think>` |",
        '{"traces": 40}',
        "Scores of the run's students; this one is of step 7.",
        "| gsm8k | think | before | 0 | 50 | 25.0 % | 12.5 to 37.5 % |  |  |",
        "| gsm8k | think | after | 7 | 50 | 25.0 % | 12.5 to 37.5 % |  | 91 |",
    ):
        assert line in card.splitlines()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    code = code.replace('"out"', repr(str(tmp_path / "out"))).replace("4096", "2")
    names = {}
    exec(code, names)
    formatter = PromptFormatter(names["tokenizer"], "Be\nbrief.")
    assert names["ids"] == formatter.prompt_ids("What is 3 + 4?", MODES.think)


@pytest.mark.parametrize("tied", [True, False])
def test_lora_is_merged(tmp_path, tied):
    model, content = trained(tmp_path, lora=ADAPTERS, tie_word_embeddings=tied)
    assert all("lora_" in name for name in content["state_dict"])
    expected = logits(model.get_base_model())
    export(save(tmp_path, content), str(tmp_path / "out"), dtype="float32")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert (logits(base) - expected).abs().max() > 0.1
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert saved.keys() == set(base.state_dict()) - ({"lm_head.weight"} if tied else set())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "LoRA | r 4, lora_alpha 8" in card
    assert "| adapters | merged into the weights |" in card


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_may_stay_an_adapter(tmp_path, dtype):
    model, content = trained(tmp_path, lora=ADAPTERS)
    expected = logits(model.get_base_model())
    export(save(tmp_path, content), str(tmp_path / "out"), dtype=dtype, merge_lora=False)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"adapter_model.safetensors", "think_modes.json", "generation_config.json"} <= names
    assert "model.safetensors" not in names
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    gap = (logits(again) - expected).abs().max()
    assert gap < (1e-4 if dtype == "float32" else 0.05)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| adapters | alone in this folder; the base model is loaded with them |" in card


def test_adapters_of_a_quantised_base_are_merged_into_what_it_computes(tmp_path):
    pytest.importorskip("bitsandbytes")
    model, content = trained(tmp_path, lora=ADAPTERS, quantization="4bit", hidden_size=64)
    expected = logits(model.get_base_model())
    export(save(tmp_path, content), str(tmp_path / "out"), dtype="float32")
    again = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out"))
    scale = expected.abs().max()
    assert (again - expected).abs().max() < 0.05 * scale  # that base computes in bfloat16
    assert "| base in training | 4bit |" in (tmp_path / "out" / "README.md").read_text()


def save_sharded(folder, content, lost=""):
    """By hand: rows of every weight shared out over two ranks, moments beside them.

    ``lost`` names a weight whose second half is in no shard.
    """
    path = folder / "run" / "checkpoints" / "last.ckpt"
    path.mkdir(parents=True)
    outline = {**content, "state_dict": {}, "optimizer_states": [{"state": {0: torch.ones(3)}}]}
    shards = [{}, {}]
    for name, value in content["state_dict"].items():
        outline["state_dict"][name] = torch.empty_like(value, device="meta")
        half = len(value) // 2
        for shard, start in zip(shards, (0, half), strict=True):
            rows = value[start : start + half].clone()
            if name == lost and start:
                continue
            shard[f"state_dict/{name}"] = ((start, *[0] * (value.ndim - 1)), rows)
    files = {"meta.pt": outline, "shard-0.pt": shards[0], "shard-1.pt": shards[1]}
    written = {name: write_hashed(part, path / name) for name, part in files.items()}
    write_manifest(path, written, outline)
    return path


def test_a_sharded_checkpoint(tmp_path):
    model, content = trained(tmp_path)
    path = save_sharded(tmp_path, content)
    export(str(path), str(tmp_path / "out"), dtype="float32")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(again), logits(model))


@pytest.mark.parametrize("tied", [True, False])
def test_tensors_of_a_sharded_checkpoint_are_there_one_at_a_time(tmp_path, monkeypatch, tied):
    model, content = trained(tmp_path, tie_word_embeddings=tied)
    path, made, counts = save_sharded(tmp_path, content), [], {}
    put_together = shards._filled

    def counted(key, *arguments):
        assert not [name for name, tensor in made if tensor() is not None], "an older one is there"
        tensor = put_together(key, *arguments)
        made.append((key, weakref.ref(tensor)))
        counts[key] = counts.get(key, 0) + 1
        return tensor

    monkeypatch.setattr(shards, "_filled", counted)
    weights = read_checkpoint(path).weights
    expected = model.state_dict()
    assert {key: value.shape for key, value in weights.outline.items()} == {
        key: value.shape for key, value in expected.items()
    }
    assert not made
    assert weights.keys() == expected.keys()
    for key in weights:
        assert torch.equal(weights[key], expected[key]), key
    counts.clear()
    export(str(path), str(tmp_path / "out"))
    assert counts == {f"state_dict/{name}": 1 for name in content["state_dict"]}


def test_a_gap_in_the_shards(tmp_path):
    _, content = trained(tmp_path)
    path = save_sharded(tmp_path, content, lost="model.model.norm.weight")
    message = r"damaged: 32 values of state_dict/model\.model\.norm\.weight are in no shard"
    with pytest.raises(UserError, match=message):
        export(str(path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_experts_have_the_names_and_shapes_of_the_base(tmp_path):
    """Servers read these, not the stacks that transformers makes of them when it loads."""
    model, content = trained(tmp_path, family="mixtral", num_local_experts=2)
    export(save(tmp_path, content), str(tmp_path / "out"), dtype="float32")
    base, saved = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "out"))
    assert {key: value.shape for key, value in saved.items()} == {
        key: value.shape for key, value in base.items()
    }
    assert any("experts.1.w2" in key for key in saved)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(again), logits(model))


# -- what is refused -----------------------------------------------------------------------------


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["export", *map(str, arguments)]) == 2
    message = capsys.readouterr().err
    return message[message.index("nt_lightning export: error: ") :]


def test_wrong_paths(tmp_path, capsys):
    out = tmp_path / "out"
    message = refused(capsys, "--ckpt_path", tmp_path / "no.ckpt", "--output", out)
    assert "no.ckpt: there is no such checkpoint" in message
    (tmp_path / "a.ckpt").touch()
    message = refused(capsys, "--ckpt_path", tmp_path / "a.ckpt", "--output", tmp_path)
    assert "exists and is not empty" in message
    message = refused(capsys, "--ckpt_path", tmp_path / "a.ckpt", "--output", tmp_path / "a.ckpt")
    assert "exists and is not empty" in message
    message = refused(capsys, "--ckpt_path", tmp_path / "a.ckpt", "--output", out)
    assert "is no checkpoint that nt_lightning has written, or is damaged" in message
    message = refused(capsys, "--ckpt_path", tmp_path, "--output", out)
    assert "is a folder, but no checkpoint that nt_lightning has written" in message
    message = refused(capsys, "--ckptpath", tmp_path, "--output", out)
    assert "did you mean ckpt_path?" in message
    message = refused(capsys, "--ckpt_path", "x", "--output", out, "--dtype", "int8")
    assert "dtype: " in message
    assert not out.exists()


def test_checkpoints_of_something_else(tmp_path):
    for number, content in enumerate(
        ({"state_dict": {}, "nt_lightning": {}}, {"state_dict": {"a": torch.ones(1)}})
    ):
        write_sealed(content, tmp_path / f"{number}.ckpt")
        with pytest.raises(UserError, match="is no checkpoint of MaskedSFT"):
            export(str(tmp_path / f"{number}.ckpt"), str(tmp_path / "out"))


@pytest.mark.parametrize("change", ["lost", "strange", "shape"])
def test_weights_that_do_not_fit_the_base(tmp_path, change):
    _, content = trained(tmp_path)
    weights = content["state_dict"] = dict(content["state_dict"])
    key = "model.model.norm.weight"
    if change == "lost":
        del weights[key]
    else:
        weights[key if change == "shape" else "model.strange"] = torch.ones(3)
    name = "strange" if change == "strange" else r"model\.norm\.weight"
    with pytest.raises(UserError, match=f"does not fit the base model .*: {name} is"):
        export(save(tmp_path, content), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_adapters_that_do_not_fit(tmp_path):
    _, content = trained(tmp_path, lora=ADAPTERS)
    content["state_dict"] = dict(list(content["state_dict"].items())[1:])
    with pytest.raises(UserError, match="adapters do not fit .*: 1 names differ"):
        export(save(tmp_path, content), str(tmp_path / "out"))


@pytest.mark.parametrize("poison", [0.02, float("nan")])
def test_a_folder_with_other_logits_is_not_kept(tmp_path, monkeypatch, poison):
    _, content = trained(tmp_path)
    reload = hf_folder._reload

    def damaged(folder):
        model = reload(folder)
        model.model.layers[0].mlp.up_proj.weight.data += poison
        return model

    monkeypatch.setattr(hf_folder, "_reload", damaged)
    with pytest.raises(UserError, match="loaded again gives other logits than the checkpoint"):
        export(save(tmp_path, content), str(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "run"]


def test_help_needs_no_torch():
    code = "import sys; from nt_lightning.__main__ import main; main(['export', '--help'])\n"
    code += "print('torch' in sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "merge_lora" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
    assert time.perf_counter() - began < 2
