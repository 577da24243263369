"""The engine in this process and a real server with the same student give the same results.

``NT_PROBLEMS=67`` asks 201 prompts, which takes ten minutes of one core, in place of 24.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from evals.reasoning_gym import ReasoningGymHeldOut
from nt_lightning.evaluation.engine import Engine, Limits, Prompt, Sampling
from nt_lightning.evaluation.evaluate import Evaluation
from nt_lightning.evaluation.results import Sample, read_results, read_samples, samples_path
from nt_lightning.evaluation.server import Server
from nt_lightning.evaluation.server_engine import ServerEngine
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.models import load_tokenizer, model_path
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES, ThinkModes
from tests.servers.real import transformers_serve
from tests.tiny import save_tiny_student

STUDENT = "smollm2-135m-instruct"
NUM_PROBLEMS = int(os.environ.get("NT_PROBLEMS", "8"))  # in each of three modes
MODES = ThinkModes().with_num_words(40)


def in_process(folder: str, formatter: PromptFormatter) -> StudentEngine:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return StudentEngine(model, formatter, 32)


def evaluate(engine: Engine, formatter: PromptFormatter, run: Path) -> list[Sample]:
    """Every stored response of one evaluation."""
    settings = EvaluationSettings(
        max_new_tokens=48, max_problems=NUM_PROBLEMS, temperature=0.0, top_p=1.0, reuse=False
    )
    benchmark = ReasoningGymHeldOut()
    evaluation = Evaluation(engine, formatter, MODES, settings, run=run, stage="test", step=0)
    evaluation([benchmark], MODE_NAMES)
    paths = [samples_path(run, "test", benchmark.name, mode) for mode in MODE_NAMES]
    return [sample for path in paths for sample in read_samples(path)]


@pytest.mark.slow  # the server answers one prompt at a time
@pytest.mark.timeout(3600)
def test_the_same_student_gives_the_same_results(tmp_path: Path) -> None:
    folder, formatter = model_path(STUDENT), PromptFormatter(load_tokenizer(STUDENT))
    ours = evaluate(in_process(folder, formatter), formatter, tmp_path / "ours")
    with transformers_serve(folder, tmp_path / "serve.log") as there:
        server = Server(there.model, there.base_url, prompts="text", concurrency=2)
        engine = ServerEngine(server, formatter, "llama", 8192)
        served = evaluate(engine, formatter, tmp_path / "served")

    pairs = list(zip(ours, served, strict=True))
    assert len(pairs) == 3 * NUM_PROBLEMS
    differing = [(one.response, two.response) for one, two in pairs if one.response != two.response]
    assert len(differing) <= 0.01 * len(pairs), differing
    for one, two in pairs:
        assert one.finish_reason == two.finish_reason, (one, two)
        if one.response == two.response:  # tokens, verdict and all else
            assert one == two
    if not differing:
        results = [read_results(tmp_path / name).results for name in ("ours", "served")]
        assert results[0] == results[1]
    assert {one.finish_reason for one in ours} == {"stop", "length"}


@pytest.mark.timeout(600)
def test_defaults_of_the_models_folder_have_no_effect(tmp_path: Path) -> None:
    """Its ``generation_config.json`` samples and punishes repetition, and stops elsewhere."""
    folder = save_tiny_student(tmp_path / "student")
    formatter = PromptFormatter(load_tokenizer(folder))
    hostile = {
        **{"do_sample": True, "temperature": 2.0, "top_k": 3, "min_p": 0.2},
        **{"repetition_penalty": 1.7, "eos_token_id": 40},
    }
    (tmp_path / "student" / "generation_config.json").write_text(json.dumps(hostile))
    prompts = []
    for number in range(12):
        question, mode = f"What is {number} + 4?", MODES[MODE_NAMES[number % 3]]
        ids, text = formatter.prompt_ids(question, mode), formatter.prompt_text(question, mode)
        prompts.append(Prompt(str(number), tuple(ids), text, mode.prefix))
    greedy = Sampling(max_new_tokens=100, temperature=0.0, top_p=1.0, seed=0)

    def texts(engine: Engine, asked: list[Prompt], how: Sampling) -> list[tuple[str, int, str]]:
        said = engine.generate(asked, how, Limits(), lambda *_: None, lambda _: None)
        return [(one.text, one.num_tokens, one.finish_reason) for one in said]

    at_the_limit = []  # the stop token is the last one allowed, or one behind it
    for prompt, (_, count, reason) in zip(
        prompts, texts(in_process(folder, formatter), prompts, greedy), strict=True
    ):
        if reason == "stop":
            at_the_limit.append(prompt._replace(key=f"{prompt.key} all", max_new_tokens=count))
            at_the_limit.append(prompt._replace(key=f"{prompt.key} less", max_new_tokens=count - 1))
    prompts += at_the_limit
    ours = texts(in_process(folder, formatter), prompts, greedy)
    assert {reason for *_, reason in ours[12::2]} == {"stop"}
    assert {reason for *_, reason in ours[13::2]} == {"length"}
    with transformers_serve(folder, tmp_path / "serve.log") as there:
        server = Server(there.model, there.base_url, prompts="text", concurrency=2)
        served = texts(ServerEngine(server, formatter, "llama"), prompts, greedy)
        careless = Server(
            *(there.model, there.base_url, "text"), extra_body={"generation_config": None}
        )
        defaults = texts(ServerEngine(careless, formatter, "llama"), prompts, greedy)
        sampling = Sampling(max_new_tokens=32, temperature=1.0, top_p=1.0, seed=0)
        twice = [prompts[0], prompts[0]._replace(key="another")]
        drawn = texts(ServerEngine(server, formatter, "llama"), twice, sampling)
    assert served == ours
    assert defaults != ours  # the folder's penalty is in force there
    assert drawn[0] != drawn[1]
