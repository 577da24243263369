"""lm-evaluation-harness beside this project: the same prompts, responses and verdicts on GSM8K.

Its tasks are used as published, filters and metric included, but read local files.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from evals.gsm8k import GSM8K
from evals.mmlu_pro import MMLUPro
from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.evaluate import Evaluation
from nt_lightning.evaluation.grading import number_equal
from nt_lightning.evaluation.results import Sample, read_samples, samples_path
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.models import load_tokenizer
from nt_lightning.student.loading import load_student
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import NO_THINK, ThinkModes
from tests.integration.real_data import real_file

lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is absent; it comes with the extra bench")

STUDENT = "smollm2-135m-instruct"
COUNT, MAX_NEW_TOKENS, BATCH_SIZE = 100, 160, 32


@pytest.fixture(autouse=True)
def its_own_warnings() -> Iterator[None]:
    """Those of the harness are not ours to mend."""
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
    return str(sample["arguments"][0][0])


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

    shots = [row(number) for number in range(6)]
    shots.insert(2, row(9, category="law"))
    test = write(tmp_path / "m.jsonl", row(70, options=["x", "y", "z"], cot_content=""))
    files = {"test": test, "validation": write(tmp_path / "s.jsonl", *shots)}
    published = "mmlu_pro/mmlu_pro_computer_science.yaml"
    (sample,) = run_task(tmp_path, published, files, "dummy")
    instruction, _, rest = context(sample).partition(".\nQuestion:\n")
    rest = rest.removesuffix("\nAnswer: Let's think step by step.")
    (problem,) = MMLUPro(test, num_shots=5, shots_path=files["validation"]).problems()
    assert problem.question == f"{instruction}, one of A, B, or C.\n\nQuestion:\n{rest}"


class Pair(NamedTuple):
    """One response judged twice; ``theirs`` is what their filter ``flexible-extract`` leaves."""

    ours: Sample
    text: str
    theirs: str
    is_right: bool

    @property
    def has_same_answer(self) -> bool:
        """Whether both found the same number, or none; theirs without what their metric ignores."""
        if self.ours.answer is None:
            return self.theirs == "[invalid]"
        return number_equal(self.theirs.replace("$", "").rstrip(".,"), self.ours.answer)

    @property
    def has_same_verdict(self) -> bool:
        """Whether both say right, or neither."""
        return (self.ours.correct is True) == self.is_right

    @property
    def explanation(self) -> str | None:
        """Why the two differ; ``None`` where no rule tells."""
        if self.ours.outcome != "answered" and self.has_same_answer:
            return f"{self.ours.outcome}: no verdict here; they judge what is there"
        if self.ours.rule not in (None, "last_number"):
            return f"{self.ours.rule}: the number that is announced; they take the last one"
        return None


def ours_on(
    benchmark: GSM8K, model: Any, formatter: PromptFormatter, folder: Path
) -> dict[str, Sample]:
    """What this project says, by problem: greedy, No-Think, nothing reused."""
    settings = EvaluationSettings(
        max_new_tokens=MAX_NEW_TOKENS, max_problems=COUNT, temperature=0, reuse=False
    )
    engine = StudentEngine(model, formatter, BATCH_SIZE)
    labels: dict[str, Any] = {"run": folder, "stage": "test", "step": 0}
    Evaluation(engine, formatter, ThinkModes(), settings, **labels)([benchmark], ["no_think"])
    samples = read_samples(samples_path(folder, "test", benchmark.name, "no_think"))
    return {sample.problem_id: sample for sample in samples}


def theirs_on(
    problems: list[Problem], model: Any, formatter: PromptFormatter, folder: Path
) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Samples of their task ``gsm8k`` on our whole prompts, and the ids that the model was fed."""
    from lm_eval.models.huggingface import HFLM

    seen: list[list[int]] = []

    class Recorded(HFLM):  # type: ignore[misc]
        def _model_generate(self, context: Any, attention_mask: Any, **rest: Any) -> Any:
            for ids, mask in zip(context, attention_mask, strict=True):
                seen.append(ids[mask.bool()].tolist())
            return super()._model_generate(context=context, attention_mask=attention_mask, **rest)

    rows = [
        {
            "id": problem.id,
            "question": NO_THINK.user_text(problem.question),
            "answer": f"#### {problem.reference_answer}",
        }
        for problem in problems
    ]
    stop = formatter.tokenizer.convert_ids_to_tokens(formatter.stop_token_id)
    limits = {"until": [stop], "max_gen_toks": MAX_NEW_TOKENS}
    samples = run_task(
        folder,
        "gsm8k/gsm8k.yaml",
        {"test": write(folder / "prompts.jsonl", *rows)},
        Recorded(pretrained=model, tokenizer=formatter.tokenizer, batch_size=BATCH_SIZE),
        apply_chat_template=True,
        training_split=None,
        fewshot_split=None,
        num_fewshot=0,
        doc_to_text="{{question}}",
        generation_kwargs={"do_sample": False, "temperature": 0.0, **limits},
    )
    return [sample for sample in samples if sample["filter"] == "flexible-extract"], seen


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_same_verdicts(tmp_path: Path) -> None:
    """SmolLM2 on 100 problems, both greedy in float32.

    It gets hardly one of them right, so that equal verdicts say little: the texts and the numbers
    that are read from them are held to the same bar.
    """
    benchmark = GSM8K(str(real_file("gsm8k", "test.jsonl")))
    problems = benchmark.problems()[:COUNT]
    model, formatter = load_student(STUDENT).eval(), PromptFormatter(load_tokenizer(STUDENT))
    ours = ours_on(benchmark, model, formatter, tmp_path)
    theirs, seen = theirs_on(problems, model, formatter, tmp_path)
    asked = [formatter.prompt_ids(problem.question, NO_THINK) for problem in problems]
    assert sorted(seen) == sorted(asked)
    assert {sample["doc"]["id"]: context(sample) for sample in theirs} == {
        name: sample.prompt for name, sample in ours.items()
    }
    pairs = [
        Pair(
            ours[sample["doc"]["id"]],
            sample["resps"][0][0],
            sample["filtered_resps"][0],
            bool(sample["exact_match"] == 1),
        )
        for sample in theirs
    ]
    assert len(pairs) == COUNT
    unlike = [pair for pair in pairs if not (pair.has_same_answer and pair.has_same_verdict)]
    for pair in unlike:
        found = f"{pair.ours.answer} and {pair.theirs}, gold {pair.ours.reference_answer}"
        print(f"{pair.ours.problem_id}: {found}: {pair.explanation}")
    counts = {
        "texts": sum(pair.ours.response == pair.text for pair in pairs),
        "answers": sum(pair.has_same_answer for pair in pairs),
        "verdicts": sum(pair.has_same_verdict for pair in pairs),
    }
    right = sum(pair.ours.correct is True for pair in pairs), sum(pair.is_right for pair in pairs)
    print(f"of {COUNT} the same: {counts}; right: {right[0]} here, {right[1]} there")
    assert all(count >= 0.98 * COUNT for count in counts.values()), counts
    assert all(pair.explanation for pair in unlike if pair.ours.response == pair.text)
