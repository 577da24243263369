"""``test`` of a student behind a server, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.models import load_tokenizer
from tests.integration.command import ROOT, nt
from tests.servers.scripted import Answer, Later, Seen, continuation, scripted
from tests.tiny import save_tiny_student

KEY = "sk-canary/0123456789+abcdef"
RECIPE = """
seed_everything: 1
model:
  class_path: ServedStudent
  init_args:
    model_name: {student}
    server:
      model: tiny
      base_url: http://127.0.0.1:{port}/v1
      revision: first
      api_key_env: NT_TEST_KEY
      concurrency: 2
data:
  class_path: Prompting
  init_args: {{num_words: 40}}
trainer:
  accelerator: cpu
  devices: 1
  default_root_dir: {runs}
  callbacks:
    - class_path: callbacks.benchmark_evaluation.BenchmarkEvaluation
      init_args:
        max_new_tokens: 64
        temperature: 0.5
        top_p: 0.9
        benchmarks:
          - class_path: evals.file_benchmark.FileBenchmark
            init_args: {{name: sums, path: {questions}, kind: number}}
"""


def write_recipe(folder: Path, port: int) -> Path:
    """A student, four sums and a recipe."""
    rows = [{"question": f"What is {a} + 4?", "reference_answer": str(a + 4)} for a in range(1, 5)]
    questions = folder / "sums.jsonl"
    questions.write_text("\n".join(map(json.dumps, rows)))
    student = save_tiny_student(folder / "student")
    recipe = folder / "served.yaml"
    recipe.write_text(
        RECIPE.format(student=student, port=port, runs=folder / "runs", questions=questions)
    )
    return recipe


def adder(student: str) -> Answer:
    """A server's student: right without thinking; thinking, right for even numbers alone."""
    tokenizer = load_tokenizer(student)

    def answer(seen: Seen) -> bytes:
        prompt = tokenizer.decode(seen.body["prompt"])
        number = int(prompt.partition("What is ")[2].split()[0])
        if "Think carefully before answering. Use" in prompt:
            said = f"Let me see.\n</think>\n\nAnswer: {4 + number + number % 2}"
            return continuation(said, "stop", 20)
        if "Answer directly" in prompt:
            return continuation(f"Answer: {4 + number}", "stop", 5)
        filtered = "content_filter" if number == 1 else "length"
        return continuation(f"Answer: {4 + number}", filtered, 64)

    return answer


def test_results_of_a_served_student(tmp_path: Path) -> None:
    env = {"NT_TEST_KEY": KEY, "NT_CACHE": str(tmp_path / "cache")}
    with scripted(lambda seen: continuation()) as server:
        recipe = write_recipe(tmp_path, server.port)
        server.answer = adder(str(tmp_path / "student"))
        done = nt("test", "--config", recipe, **env)
        assert len(server.seen) == 12
        again = nt("test", "--config", recipe, "--trainer.default_root_dir", tmp_path / "b", **env)
        assert len(server.seen) == 12
    assert all(f"Authorization: Bearer {KEY}" in seen.head for seen in server.seen)
    assert {seen.body["temperature"] for seen in server.seen} == {0.5}
    assert len({seen.body["seed"] for seen in server.seen}) == 4  # of (seed, problem), as elsewhere

    (path,) = (tmp_path / "runs").rglob("results.json")
    content = json.loads(path.read_text())
    settings = content["settings"]["test"]["sums"]
    student = settings["student"]
    assert (student["engine"], student["model"], student["revision"]) == ("server", "tiny", "first")
    assert (settings["temperature"], settings["top_p"], settings["seed"]) == (0.5, 0.9, 0)
    by_mode: dict[str, Any] = {result["mode"]: result for result in content["results"]}
    assert by_mode["no_think"]["accuracy"] == 1.0
    assert by_mode["think"]["accuracy"] == 0.5
    assert by_mode["think"]["obedience"] == 1.0
    assert by_mode["think"]["mean_response_tokens"] == 20
    assert by_mode["adaptive"]["outcomes"]["truncated"] == 1.0
    assert by_mode["adaptive"]["num_unfinished"] == 1  # the filtered one counts nowhere
    assert "tiny: 1 of 4 ended with finish_reason 'content_filter'" in done.stderr
    (samples,) = (tmp_path / "runs").rglob("sums-think.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [row["correct"] for row in rows].count(True) == 2
    assert all(row["response"].startswith("<think>Let me see.") for row in rows)

    (other,) = (tmp_path / "b").rglob("results.json")
    reused = json.loads(other.read_text())
    assert [result["num_reused"] for result in reused["results"]] == [4, 3, 4]
    for result in reused["results"]:
        result["num_reused"] = 0
    assert reused == content
    texts = [done.stdout, done.stderr, again.stdout, again.stderr]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts += [path.read_bytes().decode("latin-1") for path in written]
    assert not [text for text in texts if "canary" in text]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit",), "ServedStudent is only asked; allowed: test, not fit"),
        (("test", "--trainer.devices", 2), "2 processes ask one server; allowed: 1"),
        (
            ("test", "--model.server.extra_body", '{"temperature": 1}'),
            "model.server.extra_body.temperature is 1; the evaluation's settings say it",
        ),
        (
            ("test", "--model.server.api_key_env", "NT_NO_KEY"),
            "api_key_env: the environment variable NT_NO_KEY is not set",
        ),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, arguments: Any, said: str) -> None:
    with scripted(lambda seen: continuation()) as server:
        recipe = write_recipe(tmp_path, server.port)
        command, *further = arguments
        done = nt(command, "--config", recipe, *further, check=False, NT_TEST_KEY=KEY)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not server.seen


def test_ctrl_c_and_the_same_command_again(tmp_path: Path) -> None:
    env = {**os.environ, "NT_TEST_KEY": KEY, "NT_CACHE": str(tmp_path / "cache")}
    with scripted(lambda seen: continuation()) as server:
        recipe = write_recipe(tmp_path, server.port)
        says = adder(str(tmp_path / "student"))
        server.answer = lambda seen: Later(1.0, says(seen))  # type: ignore[arg-type]
        command = [sys.executable, "-W", "ignore", "-m", "nt_lightning", "test", "--config"]
        with subprocess.Popen(
            [*command, str(recipe)],
            cwd=ROOT,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            until = time.monotonic() + 100
            while not server.seen and time.monotonic() < until:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "waiting for 2 replies" in said
        assert "Traceback" not in said
        assert len(server.seen) == 2
        server.answer = says
        nt("test", "--config", recipe, **{name: env[name] for name in ("NT_TEST_KEY", "NT_CACHE")})
    assert len(server.seen) == 12
    assert len({seen.raw for seen in server.seen}) == 12
