"""python -m tests.benchmarks.sft_throughput [--precision bf16] [--model smollm2-135m-instruct]

Training steps of our path against TRL's SFTTrainer on the same bins: tokens per CPU-second, peak
memory, and, first of all, equal losses in every step.

Ours is the path of a run: data module, plan, packed loader, ``MaskedSFT``, ``PaperAdamW``,
Lightning's Trainer. TRL packs with ``bfd`` and trains padding-free with SDPA (it finds the
borders in ``position_ids``), without gradient checkpointing. Its bins would be others than ours,
so it is given ours (``skip_prepare_dataset``) in our order; collator, head, loss and loop are its
own. The rival ``trl-single`` is TRL without packing, one trace in a micro-batch: no mask is
needed then, and SDPA takes its causal kernel; steps are cut by number of traces, so its losses
are not compared.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.protocol import (
    BARE_TRAINER,
    Meter,
    Result,
    alternate,
    fresh_process,
    median_of,
    ratio,
    report,
)

NAME = "tests.benchmarks.sft_throughput"
SMALL = "llama-31m"
MAX_TOKENS = 2_048
MEAN_TOKENS = 400
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
WARM_UP = 1  # optimizer steps before the clock starts
VOCABULARY = 49_152


# -- the same student and the same traces for both ------------------------------------------------


def make_student(folder: Path) -> None:
    """A Llama of 31 million parameters with random weights and SmolLM2's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from nt_lightning.models import load_tokenizer

    load_tokenizer("smollm2-135m-instruct").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1152,
        num_hidden_layers=7,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_traces(folder: Path, num_tokens: int) -> None:
    """Tokenised traces as ``TraceDataModule`` keeps them: random ids, a fifth to a quarter masked.

    Small ids are frequent, so that the loss falls and a wrong gradient would show.
    """
    import pyarrow as pa

    from nt_lightning.data.certificate import CERTIFICATE
    from nt_lightning.data.prepare import TOKENISED
    from nt_lightning.traces.modes import ThinkModes

    rng = np.random.default_rng(0)
    lengths = np.clip(
        rng.lognormal(np.log(MEAN_TOKENS) - 0.18, 0.6, 4 * num_tokens), 32, MAX_TOKENS
    )
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), num_tokens) + 1].astype(int)
    prompts = (lengths * rng.uniform(0.2, 0.25, len(lengths))).astype(int)
    ids = [(VOCABULARY * rng.random(length) ** 4).astype(np.int32) for length in lengths]
    names = [f"trace-{row}" for row in range(len(lengths))]
    table = pa.table(
        [names, ["random"] * len(names), [0] * len(names), prompts, lengths, ids], schema=TOKENISED
    )
    path = str(folder / "train.arrow")
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, TOKENISED) as writer:
        writer.write_table(table)
    info = {"teachers": ["random"], "modes": ThinkModes().to_dict()}
    (folder / "info.json").write_text(json.dumps(info))
    (folder / CERTIFICATE).write_text(json.dumps({"passed": True}))  # there are no texts to check


def data_module(work: Path, model: str, bins: int) -> Any:
    """The real data module over traces that are tokenised already."""
    from nt_lightning.data.selections import RandomSelection

    class Prepared(RandomSelection):
        folder = work

        def prepare_data(self) -> None:
            pass

    return Prepared(
        "", model, max_tokens=MAX_TOKENS, tokens_per_step=bins * MAX_TOKENS, num_workers=0
    )


def learning_rate(model: str) -> float:
    """A trained student and random ids: large steps would blow rounding up into other losses."""
    return 1e-3 if model == SMALL else 1e-5


def student(work: Path, model: str) -> str:
    """Folder or name of the student."""
    return str(work / SMALL) if model == SMALL else model


# -- one measurement ------------------------------------------------------------------------------


def run_ours(work: Path, model: str, precision: str, bins: int, steps: int) -> Result:
    """Train through the data module, ``MaskedSFT`` and Lightning."""
    from lightning.pytorch import Callback, Trainer

    from nt_lightning.student.optim import PaperAdamW
    from nt_lightning.student.sft import MaskedSFT

    losses: list[float] = []
    meter = Meter()

    class Watch(Callback):
        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if (batch_idx + 1) % trainer.accumulate_grad_batches:
                return
            losses.append(float(trainer.callback_metrics["train/loss"]))
            if trainer.global_step == WARM_UP:
                meter.__enter__()
            if trainer.global_step == steps:
                meter.__exit__()

    data = data_module(work, student(work, model), bins)
    module = MaskedSFT(
        student(work, model), optimizer=lambda params: PaperAdamW(params, lr=learning_rate(model))
    )
    trainer = Trainer(
        **BARE_TRAINER,
        devices=1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_steps=steps,
        log_every_n_steps=1,
        callbacks=[Watch()],
    )
    trainer.fit(module, data)
    return _result(meter, losses, _tokens_after_warm_up(data, bins, steps))


def run_trl(
    work: Path, model: str, precision: str, bins: int, steps: int, *, packed: bool = True
) -> Result:
    """Train with TRL's SFTTrainer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from nt_lightning.models import model_path

    data = data_module(work, student(work, model), bins)
    data.setup("predict")  # opens the traces, asks for no trainer
    rows = _packed_rows(data, steps) if packed else _single_rows(data, steps)
    per_step = bins if packed else round(len(rows) / steps)
    losses: list[float] = []
    meter = Meter()

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP:
                meter.__enter__()
            if state.global_step == steps:
                meter.__exit__()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    path = model_path(student(work, model))
    config = SFTConfig(
        output_dir=str(work / "trl"),
        use_cpu=True,
        bf16=precision == "bf16",
        packing=packed,
        packing_strategy="bfd",
        max_length=MAX_TOKENS,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=per_step,
        train_sampling_strategy="sequential",
        max_steps=steps,
        learning_rate=learning_rate(model),
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        weight_decay=0.1,
        max_grad_norm=1.0,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa"),
        config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(path),
        callbacks=[Watch()],
    )
    trainer.train()
    if packed:
        return _result(meter, losses, _tokens_after_warm_up(data, bins, steps))
    tokens = sum(map(len, rows[WARM_UP * per_step : steps * per_step]["input_ids"]))
    return _result(meter, losses, tokens)


def _packed_rows(data: Any, steps: int) -> Any:
    """Our bins of the first steps as TRL's packed data set."""
    import datasets

    from nt_lightning.data.batch import PackedTraces
    from nt_lightning.data.loader import PlanSampler

    traces = PackedTraces(data.traces("train"), data.teacher_names)
    items = [item for item in PlanSampler(data.plan, 0, 1) if item.step < steps]
    batches = [traces[item] for item in items]
    return datasets.Dataset.from_dict(
        {
            "input_ids": [batch.input_ids[0].tolist() for batch in batches],
            "labels": [batch.labels[0].tolist() for batch in batches],
            "seq_lengths": [batch.cu_seqlens.diff().tolist() for batch in batches],
        }
    )


def _single_rows(data: Any, steps: int) -> Any:
    """The same traces in the same order, one in a row."""
    import datasets

    from nt_lightning.data.batch import IGNORE_INDEX

    plan = data.plan(0)
    order = np.concatenate([plan.step_rows(step) for step in range(steps)])
    traces = data.traces("train").select(order)
    ids = traces["input_ids"][:]
    labels = [
        [IGNORE_INDEX] * num_prompt + row[num_prompt:]
        for row, num_prompt in zip(ids, traces["num_prompt"], strict=True)
    ]
    return datasets.Dataset.from_dict({"input_ids": ids, "labels": labels})


def _tokens_after_warm_up(data: Any, bins: int, steps: int) -> int:
    plan = data.plan(0)
    lengths = np.array(data.traces("train")["num_tokens"])
    return int(sum(lengths[plan.step_rows(step)].sum() for step in range(WARM_UP, steps)))


def _result(meter: Meter, losses: list[float], tokens: int) -> Result:
    return meter.result(tokens=tokens, per_cpu_s=tokens / meter.cpu_s, losses=losses)


# -- the comparison -------------------------------------------------------------------------------


def check_losses(ours: list[float], theirs: list[float], precision: str) -> float:
    """Largest difference of the steps' mean losses; equal first, fast second."""
    gap = float(np.abs(np.array(ours) - np.array(theirs)).max())
    assert gap <= TOLERANCE[precision], f"losses differ by {gap}: {ours} and {theirs}"
    return gap


def main() -> None:
    """Measure one side, or compare both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=list(TOLERANCE), default="fp32")
    parser.add_argument("--model", default=SMALL)
    parser.add_argument("--rival", choices=["trl", "trl-single"], default="trl")
    parser.add_argument("--bins", type=int, default=4, help="rows of 2,048 tokens in a step")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps, the first not timed")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", help="measure this side alone, in this process")
    parser.add_argument("--work", type=Path, help="folder with student and traces")
    args = parser.parse_args()
    setting = {key: getattr(args, key) for key in ("model", "precision", "bins", "steps")}
    if args.side:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        sides = {
            "ours": run_ours,
            "trl": run_trl,
            "trl-single": lambda *a: run_trl(*a, packed=False),
        }
        print(json.dumps(sides[args.side](args.work, *setting.values())))
        return
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        make_student(work / SMALL)
        make_traces(work, args.bins * args.steps * MAX_TOKENS)
        results = alternate(
            ["ours", args.rival],
            lambda side: fresh_process(NAME, side, {**setting, "work": work}),
            args.pairs,
        )
    ours, theirs = results["ours"], results[args.rival]
    rows: list[tuple[str, object]] = []
    if args.rival == "trl":
        gaps = [
            check_losses(a["losses"], b["losses"], args.precision)
            for a, b in zip(ours, theirs, strict=True)
        ]
        rows.append(("largest difference of step losses", max(gaps)))
    rows += [
        ("losses of ours", ", ".join(f"{loss:.4f}" for loss in ours[0]["losses"])),
        ("tokens timed", ours[0]["tokens"]),
        ("ours, tokens per CPU-second", median_of(ours, "per_cpu_s")),
        ("rival, tokens per CPU-second", median_of(theirs, "per_cpu_s")),
        ("ours / rival, tokens per CPU-second", str(ratio(ours, theirs, "per_cpu_s"))),
        ("ours, peak MiB", median_of(ours, "peak_mib")),
        ("rival, peak MiB", median_of(theirs, "peak_mib")),
        ("ours / rival, peak memory", str(ratio(ours, theirs, "peak_mib"))),
    ]
    report("sft_throughput", {**setting, "rival": args.rival, "pairs": args.pairs}, rows)


if __name__ == "__main__":
    main()
