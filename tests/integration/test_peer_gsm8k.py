"""lm-evaluation-harness beside this project: the same prompts, responses and verdicts on GSM8K.

Its tasks are used as published, filters and metric included, but read local files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from evals.gsm8k import GSM8K
from evals.mmlu_pro import MMLUPro

lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is absent; it comes with the extra bench")

STUDENT = "smollm2-135m-instruct"
COUNT, MAX_NEW_TOKENS, BATCH_SIZE = 100, 128, 16


class Verdict(NamedTuple):
    """What the harness says about one problem; ``answer`` as its filter left it."""

    response: str
    answer: str
    is_right: bool


@pytest.fixture(autouse=True)
def its_own_warnings() -> Iterator[None]:
    """Those of the harness are not ours to mend."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run_task(
    folder: Path, published: str, files: dict[str, str], model: Any, **changes: Any
) -> list[dict[str, Any]]:
    """Samples of a published task on local files.

    Args:
        folder: For the task's file and the cache.
        published: Its file below ``lm_eval/tasks``.
        files: A local file for each split.
        model: What answers.
        changes: Fields that differ from the published ones; ``apply_chat_template`` of the run.
    """
    from lm_eval.tasks import TaskManager

    is_chat = changes.pop("apply_chat_template", False)
    task = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / published),
        "task": "here",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        **changes,
    }
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "here.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    done = lm_eval.simple_evaluate(
        model=model,
        tasks=["here"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        apply_chat_template=is_chat,
        log_samples=True,
        bootstrap_iters=0,
    )
    samples: list[dict[str, Any]] = done["samples"]["here"]
    return samples


def context(sample: dict[str, Any]) -> str:
    """The prompt that the harness has made."""
    return str(sample["arguments"]["gen_args_0"]["arg_0"])


@pytest.mark.parametrize("num_shots", [1, 8])
def test_the_shots_of_gsm8k_are_theirs(tmp_path: Path, num_shots: int) -> None:
    """``gsm8k_cot`` to the byte, but for its last ``A:``."""
    path = write(tmp_path / "g.jsonl", {"question": "What is 1 + 1?", "answer": "#### 2"})
    published = "gsm8k/gsm8k-cot.yaml"
    samples = run_task(tmp_path, published, {"test": path}, "dummy", num_fewshot=num_shots)
    (problem,) = GSM8K(path, num_shots=num_shots).problems()
    assert {context(sample) for sample in samples} == {f"{problem.question}\nA:"}


def test_the_shots_of_mmlu_pro_are_theirs(tmp_path: Path) -> None:
    """Theirs, with the letters named, an empty line below the instruction, and no last cue."""

    def row(number: int, **changes: object) -> dict[str, object]:
        solution = f"A: Let's think step by step. It is {number}. The answer is (B)."
        values = {"question_id": number, "question": f"Is it {number}?", "options": ["n", "y"]}
        labels = {"answer": "B", "answer_index": 1, "category": "computer science", "src": "s"}
        return {**values, **labels, "cot_content": solution, **changes}

    shots = [row(number, category="law" if number == 2 else "computer science") for number in range(7)]
    test = write(tmp_path / "m.jsonl", row(70, options=["x", "y", "z"], cot_content=""))
    files = {"test": test, "validation": write(tmp_path / "s.jsonl", *shots)}
    published = "mmlu_pro/mmlu_pro_computer_science.yaml"
    (sample,) = run_task(tmp_path, published, files, "dummy")
    instruction, _, rest = context(sample).partition(".\nQuestion:\n")
    rest = rest.removesuffix("\nAnswer: Let's think step by step.")
    (problem,) = MMLUPro(test, num_shots=5, shots_path=files["validation"]).problems()
    assert problem.question == f"{instruction}, one of A, B, or C.\n\nQuestion:\n{rest}"
