"""The README of an exported student: where it comes from, how to ask it, what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nt_lightning import __version__
from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import Result, read_results
from nt_lightning.runs import CHECKPOINTS
from nt_lightning.student.trained import Checkpoint
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES

PLAN_FILE = "plan.json"
_QUESTION = "What is 3 + 4?"
_USE = """```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
messages = {messages}
prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
parts = [prompt.removesuffix({suffix!r}), {prefix!r}]  # tokenised apart, as in training
ids = [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
print(tokenizer.decode(model.generate(torch.tensor([ids]), max_new_tokens=4096)[0]))
```"""


def model_card(
    checkpoint: Checkpoint, formatter: PromptFormatter, name: str, facts: Mapping[str, Any]
) -> str:
    """Markdown with the lineage of a student.

    The training plan and the results are added where they stand in the run's folder.

    Args:
        checkpoint: The checkpoint.
        formatter: Renders the run's prompts.
        name: The exported folder's name.
        facts: Further rows of the first table.
    """
    run = run_folder(checkpoint.path)
    parts = [
        f"---\nbase_model: {checkpoint.model_name}\nlibrary_name: transformers\n"
        "tags: [nt_lightning, reasoning]\n---",
        f"# {name}",
        f"A student of reasoning traces, trained with nt_lightning {__version__} on responses alone"
        " (masked-question SFT).",
        _table(["", ""], {**_lineage(checkpoint, formatter), **facts}.items()),
        "## Think modes",
        _modes(checkpoint),
        _use(checkpoint, formatter, name),
        *_training(run),
        *_evaluation(run, checkpoint.step),
    ]
    return "\n\n".join(parts) + "\n"


def run_folder(checkpoint: Path) -> Path | None:
    """The run that a checkpoint lies in; ``None`` for one that was moved elsewhere."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == CHECKPOINTS else None


def _lineage(checkpoint: Checkpoint, formatter: PromptFormatter) -> dict[str, Any]:
    rows = {
        "base model": checkpoint.model_name,
        "checkpoint": checkpoint.path.resolve(),
        "optimizer steps": checkpoint.step,
        "stop token": formatter.tokenizer.convert_ids_to_tokens(formatter.stop_token_id),
        "system prompt": checkpoint.system_prompt or "the template's own",
    }
    if checkpoint.lora is not None:
        rows["LoRA"] = ", ".join(f"{key} {value}" for key, value in vars(checkpoint.lora).items())
    if checkpoint.quantization is not None:
        rows["base in training"] = checkpoint.quantization
    return rows


def _modes(checkpoint: Checkpoint) -> str:
    rows = [
        (f"`{mode.name}`", mode.instruction, f"`{mode.prefix}`" if mode.prefix else "")
        for mode in (checkpoint.modes[name] for name in MODE_NAMES)
    ]
    return _table(["mode", "at the end of the question", "the response is begun with"], rows)


def _use(checkpoint: Checkpoint, formatter: PromptFormatter, name: str) -> str:
    """Code that makes the very prompt of training."""
    mode = checkpoint.modes.think
    system = [{"role": "system", "content": checkpoint.system_prompt}]
    messages: list[Any] = system if checkpoint.system_prompt is not None else []
    messages = [*messages, {"role": "user", "content": mode.user_text(_QUESTION)}]
    rendered = formatter.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    suffix = str(rendered).removeprefix(formatter.prompt_text(_QUESTION, mode))
    shown = json.dumps(messages, ensure_ascii=False)
    code = _USE.format(name=name, messages=shown, suffix=suffix, prefix=mode.prefix)
    return code if suffix else code.replace(".removesuffix('')", "")


def _training(run: Path | None) -> list[str]:
    """The plan as the run wrote it down before its first step."""
    if run is None or not (run / PLAN_FILE).is_file():
        return []
    plan = (run / PLAN_FILE).read_text(encoding="utf-8").strip()
    return ["## Training", f"```json\n{plan}\n```"]


def _evaluation(run: Path | None, step: int) -> list[str]:
    """All results of the run; which of them are this student's is said."""
    if run is None:
        return []
    try:
        results = read_results(run).results
    except UserError:  # of another version: no reason to refuse the export
        return []
    if not results:
        return []
    note = f"Scores of the run's students; this one is of step {step}"
    note += "." if any(result.step == step for result in results) else ", which was not scored."
    header = ["benchmark", "mode", "stage", "step", "problems", "accuracy", "95 % interval"]
    return [
        "## Evaluation",
        note,
        _table([*header, "obedience", "mean tokens"], map(_row, results)),
    ]


def _row(result: Result) -> Sequence[Any]:
    interval, tokens = result.accuracy_interval, result.mean_response_tokens
    return (
        result.benchmark,
        result.mode,
        result.stage,
        result.step,
        result.num_problems,
        _percent(result.accuracy),
        "" if interval is None else f"{100 * interval.low:.1f} to {_percent(interval.high)}",
        _percent(result.obedience),
        "" if tokens is None else f"{tokens:.0f}",
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _table(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
