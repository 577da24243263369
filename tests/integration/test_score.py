"""``score`` as a user runs it: right scores, nothing computed twice, mistakes in one line."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import AutoTokenizer

from nt_lightning.__main__ import main
from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.models import load_tokenizer
from nt_lightning.student.naturalness import blocks
from nt_lightning.student.naturalness import data as scoring_data
from nt_lightning.student.naturalness.data import ResponseScoring
from nt_lightning.student.naturalness.encode import ResponseEncoder
from nt_lightning.student.naturalness.score import score_responses
from nt_lightning.student.naturalness.scorer import NaturalnessScorer
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.pool import Pool, write_pool
from nt_lightning.traces.scores import find_scores, read_steps
from nt_lightning.traces.steps import FixedTokenSteps, StepSplitter
from tests.naturalness import load_scorer, naive_local, naive_log_probs, score
from tests.tiny import save_tiny_pool, save_tiny_student

ROOT = Path(__file__).parents[2]
NUM = 40
# The command line in a process of its own, with small blocks; every row takes a while.
SCRIPT = """
import os, sys, time
from nt_lightning.student.naturalness import blocks, scorer

blocks.BLOCK_CHARACTERS = 300, 300
seconds = float(os.environ["SECONDS"])
score_row = scorer.NaturalnessScorer.score_row
def slow(self, row):
    time.sleep(seconds)
    return score_row(self, row)
scorer.NaturalnessScorer.score_row = slow

from nt_lightning.__main__ import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
RECIPE = """
model:
  class_path: NaturalnessScorer
  init_args: {{model_name: {student}}}
data:
  class_path: ResponseScoring
  init_args: {{pool: {pool}, windows: [0, 1, 2]}}
trainer: {{accelerator: cpu, default_root_dir: {runs}}}
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student") / "llama")


@pytest.fixture
def pool(tmp_path):
    return save_tiny_pool(tmp_path / "pool", NUM)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", (300, 300))


def recipe(pool, student):
    path = Path(pool).with_suffix(".yaml")
    runs = Path(pool).parent / "runs"
    path.write_text(RECIPE.format(student=student, pool=pool, runs=runs))
    return path


def run(pool, student, *arguments):
    return main(["score", "--config", str(recipe(pool, student)), *map(str, arguments)])


def refused(capsys, *arguments):
    capsys.readouterr()
    assert run(*arguments) == 2
    return capsys.readouterr().err


def tables_of(pool):
    """The two tables, to the bit."""
    found = find_scores(Pool(pool))
    return found.table, read_steps(found.folder)


def galp_of(pool):
    """``galp`` by the trace's id."""
    return {row["id"]: row["galp"] for row in find_scores(Pool(pool)).table.to_pylist()}


def traces(**columns):
    """Rows of a pool, one for each answer."""
    size = len(columns["answer"])
    rows = {"id": [f"t{n}" for n in range(size)], "question": ["What is 3 + 4?"] * size}
    rows |= {"teacher": ["one"] * size, "reasoning": [""] * size}
    return pa.table({**rows, **columns})


# -- what it writes --------------------------------------------------------------------------------


def test_scores_are_those_of_each_response_alone(pool, student):
    assert run(pool, student) == 0
    found = find_scores(Pool(pool))
    scorer = load_scorer(student, (0, 1, 2))
    encoder = ResponseEncoder(PromptFormatter(load_tokenizer(student)))
    steps = read_steps(found.folder).to_pylist()
    for row in range(0, NUM, 7):
        trace = Pool(pool).read().slice(row, 1).to_pylist()[0]
        one = encoder.encode(trace["id"], trace["question"], trace["reasoning"], trace["answer"])
        (alone,) = score(scorer, [one])
        line = found.table.slice(row, 1).to_pylist()[0]
        assert line["id"] == trace["id"]
        assert line["teacher"] == trace["teacher"]
        for name, value in alone.columns().items():
            same = value if value is None else pytest.approx(value, abs=1e-4, rel=1e-4)
            assert line[name] == same, name
        text, _ = encoder.text(trace["reasoning"], trace["answer"])
        assert text[steps[row]["step_starts"][-1] :] in trace["answer"]
        local = naive_local(scorer.model, one, 1)
        np.testing.assert_allclose(steps[row]["lalp_1"], local, atol=1e-4)
    assert found.info["windows"] == [0, 1, 2]
    assert found.info["dtype"] == "float32"
    assert found.info["model_type"] == "llama"
    assert (found.info["device"], found.info["incomplete"]) == ("cpu", 0)
    assert found.info["splitter"]["class"] == "SentenceSteps"


def test_what_is_there_is_not_made_again(pool, student, monkeypatch, caplog):
    assert run(pool, student) == 0
    monkeypatch.setattr(NaturalnessScorer, "configure_model", None)
    caplog.set_level("INFO")
    assert run(pool, student) == 0
    assert "already there" in caplog.text


def test_the_report_lies_in_the_run(pool, student, tmp_path):
    assert run(pool, student) == 0
    (page,) = (tmp_path / "runs").glob("*/naturalness.html")
    assert page.with_suffix(".json").is_file()


def test_a_selection_takes_them(pool, student, tmp_path, capsys):
    assert run(pool, student) == 0
    given = {"pool": pool, "model_name": student, "score": "lalp_2", "among": "all"}
    options = [f"--data.{name}={value}" for name, value in given.items()]
    options += ["--data.num_traces=10", f"--output={tmp_path / 'natural'}"]
    model = ["--model=MaskedSFT", f"--model.model_name={student}"]
    assert main(["select", *model, "--data=NaturalnessSelection", *options]) == 0
    assert len(Pool(tmp_path / "natural")) == 10


# -- stopped, and on several processes -------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(SCRIPT)
    return path


def start(script, seconds, pool, student, *arguments):
    return subprocess.Popen(
        [sys.executable, script, "score", "--config", recipe(pool, student)]
        + list(map(str, arguments)),
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        | {"SECONDS": str(seconds)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_stopped_command_goes_on(pool, student, script, tmp_path, small_blocks, sent, code):
    process = start(script, 0.7, pool, student)
    there = lambda: list(Path(pool).glob("columns/.scores-*/block-*.parquet"))  # noqa: E731
    while len(there()) < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(sent)
    _, stderr = process.communicate()
    assert process.returncode == code, stderr
    assert ("the same command goes on" in stderr) == (sent != signal.SIGKILL)
    dates = {file: file.stat().st_mtime_ns for file in there()}
    assert 2 <= len(dates) < NUM
    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        remove = blocks.BlockFiles.remove
        patch.setattr(
            blocks.BlockFiles,
            "remove",
            lambda self: (
                kept.update({file: file.stat().st_mtime_ns for file in dates}),
                remove(self),
            ),
        )
        assert run(pool, student) == 0
    assert kept == dates  # none was computed again
    assert not there()
    whole = save_tiny_pool(tmp_path / "whole", NUM)
    assert run(whole, student) == 0
    assert all(one.equals(two) for one, two in zip(tables_of(pool), tables_of(whole), strict=True))


def test_two_processes_give_the_same_tables(pool, student, script, tmp_path, small_blocks):
    process = start(script, 0, pool, student, "--trainer.devices", 2, "--trainer.strategy", "ddp")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert sum(line.startswith("scores: ") for line in out.splitlines()) == 1
    whole = save_tiny_pool(tmp_path / "whole", NUM)
    assert run(whole, student) == 0
    assert all(one.equals(two) for one, two in zip(tables_of(pool), tables_of(whole), strict=True))


def test_a_block_is_left_for_two_processes(pool, student, script, small_blocks, monkeypatch):
    """What an interrupted run on many devices leaves: some of them have nothing to do."""
    monkeypatch.setattr(blocks.BlockFiles, "remove", lambda self: None)
    assert run(pool, student) == 0
    right = galp_of(pool)
    shutil.rmtree(find_scores(Pool(pool)).folder)
    (left, kept, *_) = sorted(Path(pool).glob("columns/.scores-*/block-*.parquet"))
    left.unlink()
    wrong = pq.read_table(kept)
    zeros = pa.array([0.0] * len(wrong))
    pq.write_table(wrong.set_column(wrong.column_names.index("galp"), "galp", zeros), kept)
    process = start(script, 0, pool, student, "--trainer.devices", 2, "--trainer.strategy", "ddp")
    out, err = process.communicate()
    assert process.returncode == 0, err
    found = galp_of(pool)
    assert found == right | dict.fromkeys(wrong["id"].to_pylist(), 0.0)  # taken as it was


def test_blocks_of_another_device_are_not_continued(tmp_path):
    folders = {blocks.BlockFiles(tmp_path / "scores", name).folder for name in ("cpu", "cuda")}
    assert len(folders) == 2


def test_an_error_ends_the_progress_bar(pool, student, monkeypatch, capsys):
    closed = []
    close = NaturalnessScorer.close_progress
    monkeypatch.setattr(
        NaturalnessScorer, "close_progress", lambda self: (closed.append(self), close(self))
    )

    def refuse(self, row):
        raise UserError("no")

    monkeypatch.setattr(NaturalnessScorer, "score_row", refuse)
    assert "no" in refused(capsys, pool, student)
    (scorer,) = closed
    assert not scorer._progress._exit_callbacks


# -- bad input -------------------------------------------------------------------------------------


def test_responses_that_cannot_be_scored_keep_a_reason(tmp_path, student):
    """A response that is too long as a whole, a step and a question that are longer yet."""
    long = "word " * 4000
    table = traces(
        answer=["7", "The sum is 7.", long, "7"],
        reasoning=["", "One step. " * 2000, "", ""],
        question=["What?", "What?", "What?", long * 2],
    )
    write_pool(table, tmp_path / "pool", {})
    assert run(tmp_path / "pool", student) == 0
    rows = find_scores(Pool(tmp_path / "pool")).table.to_pylist()
    assert rows[0]["unscored_reason"] is None
    assert rows[0]["scored_steps"] == 1
    assert rows[0]["lalp_2"] == pytest.approx(rows[0]["galp"], abs=1e-5)
    assert rows[1]["galp"] is None
    assert rows[1]["lalp_2"] < 0
    assert "the student reads" in rows[1]["unscored_reason"]
    assert "longest step" in rows[2]["unscored_reason"]
    assert rows[3]["lalp_0"] is None
    assert "the question has" in rows[3]["unscored_reason"]


def test_a_pool_without_one_scored_response(tmp_path, student, capsys):
    table = traces(answer=["7", "8"], question=["word " * 8000] * 2)
    write_pool(table, tmp_path / "pool", {})
    assert run(tmp_path / "pool", student) == 0
    assert "Teachers are not compared" in capsys.readouterr().out
    (page,) = (tmp_path / "runs").glob("*/naturalness.html")
    assert "No step has a score." in page.read_text()
    rows = find_scores(Pool(tmp_path / "pool")).table.to_pylist()
    assert all("the question has" in row["unscored_reason"] for row in rows)
    assert all(row["galp"] is None and row["lalp_0"] is None for row in rows)


def test_annotations_that_failed_stop_no_other_response(tmp_path, student, capsys):
    reasoning = "One goes. Two goes."
    starts = pa.array([[0, 10], None, [0, 99]], pa.list_(pa.int64()))
    table = traces(answer=["7"] * 3, reasoning=[reasoning] * 3, step_starts=starts)
    write_pool(table, tmp_path / "pool", {})
    assert run(tmp_path / "pool", student, "--data.splitter", "ColumnSteps") == 0
    rows = find_scores(Pool(tmp_path / "pool")).table.to_pylist()
    assert [row["galp"] is None for row in rows] == [False, True, True]
    assert "is null" in rows[1]["unscored_reason"]
    assert "has 0 to 99; the reasoning has 19 characters" in rows[2]["unscored_reason"]


def test_a_student_that_gives_no_number(pool, student, tmp_path, capsys):
    broken = save_tiny_student(tmp_path / "broken")
    path = Path(broken) / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "norm" in name)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, path, metadata={"format": "pt"})
    message = refused(capsys, pool, broken)
    assert "nan" in message or "no finite log-probability" in message
    assert not list(Path(pool).glob("columns/scores-*"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--data.windows", "[]"], ["data.windows is empty"]),
        (["--data.windows", "[-1]"], ["window -1 is not allowed"]),
        (["--data.windows", "[1.5]"], ["window 1.5 is not allowed"]),
        (["--data.max_tokens", "0"], ["data.max_tokens is 0"]),
        (["--data.pool", "no/such"], ["no/such is no pool"]),
        (["--data.splitter", "SentenceStep"], ["data.splitter", "SentenceSteps"]),
        (["--data.splitter", "ColumnSteps"], ["'step_starts' is missing"]),
        (["--data.splitter", "FixedTokenSteps", "--data.splitter.size", "0"], ["steps of 0"]),
        (["--trainer.precision", "bf16-mixed"], ["model.dtype"]),
        (["--trainer.fast_dev_run", "true"], ["trainer.fast_dev_run is", "score needs every"]),
        (["--trainer.limit_predict_batches", "2"], ["trainer.limit_predict_batches is 2; score"]),
        (["--trainer.limit_predict_batches", "0.5"], ["trainer.limit_predict_batches is 0.5"]),
        (["--ckpt_path", "runs"], ["export"]),
        (["--model", "MaskedSFT"], ["score takes NaturalnessScorer, not MaskedSFT"]),
    ],
)
def test_mistakes(pool, student, capsys, monkeypatch, arguments, parts):
    message = refused(capsys, pool, student, *arguments)
    for part in parts:
        assert part in message
    assert not list(Path(pool).glob("columns/*"))


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy])
def test_a_student_in_parts_is_refused(pool, student, strategy):
    trainer = SimpleNamespace(precision="32-true", fast_dev_run=False, limit_predict_batches=1.0)
    trainer.strategy = strategy.__new__(strategy)
    said = f"trainer.strategy is {strategy.__name__}; allowed: one device, or ddp"
    with pytest.raises(UserError, match=said):
        score_responses(
            trainer, NaturalnessScorer(student), ResponseScoring(pool, student), overwrite=False
        )


def test_a_damaged_block_is_named(pool, student, script, small_blocks, capsys):
    process = start(script, 0.5, pool, student)
    while not (found := list(Path(pool).glob("columns/.scores-*/block-000000.parquet"))):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    found[0].write_bytes(b"PAR1 is damaged")
    assert "block-000000.parquet is damaged" in refused(capsys, pool, student)


def test_a_missing_block_is_not_a_damaged_one(tmp_path):
    files = blocks.BlockFiles(tmp_path / "scores", "cpu")
    with pytest.raises(UserError, match="block-000003.parquet is missing; give the command again"):
        files.read(blocks.Block(3, 0, 1), steps=False)


def test_a_bos_token_stands_in_front_of_a_response_without_its_question(pool, tmp_path):
    """Where the tokenizer puts one in front of every text and the template does, too."""
    folder = save_tiny_student(tmp_path / "bos")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert ResponseScoring(pool, folder).empty_prompt == ()
    bos = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    tokenizer.save_pretrained(folder)
    assert ResponseScoring(pool, folder).empty_prompt == ()  # the template has none
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    assert ResponseScoring(pool, folder).empty_prompt == (bos,)
    assert run(pool, folder) == 0
    found = find_scores(Pool(pool))
    assert found.info["empty_prompt"] == [bos]
    trace = Pool(pool).read().slice(0, 1).to_pylist()[0]
    encoder = ResponseEncoder(PromptFormatter(load_tokenizer(folder)))
    one = encoder.encode(trace["id"], trace["question"], trace["reasoning"], trace["answer"])
    scorer = load_scorer(folder, (0,))
    alone, _ = naive_log_probs(scorer.model, [bos], one.response.tolist())
    asked, _ = naive_log_probs(scorer.model, one.prompt.tolist(), one.response.tolist())
    assert found.table["ifd"][0].as_py() == pytest.approx(asked.mean() / alone.mean(), abs=1e-4)


def test_blocks_cover_the_pool_across_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", (50, 50))
    table = traces(answer=["a" * (n % 30 + 1) for n in range(100)])
    pool = write_pool(table, tmp_path / "pool", {}, rows_per_shard=17)
    found = blocks.blocks_of(pool)
    assert [found[0].start, found[-1].end] == [0, 100]
    assert all(one.end == two.start for one, two in zip(found, found[1:], strict=False))
    wanted = found[1::3]
    read = list(blocks.read_blocks(pool, wanted, ["id"]))
    assert [block for block, _ in read] == wanted
    for block, rows in read:
        assert rows["id"].to_pylist() == [f"t{n}" for n in range(block.start, block.end)]
        lengths = [n % 30 + 1 for n in range(block.start, block.end)]
        assert len(lengths) == 1 or sum(lengths) <= 50


def test_a_large_pool_has_no_more_files_than_a_folder_can_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "NUM_BLOCKS", 4)
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", (10, 10**6))
    pool = write_pool(traces(answer=["a" * 20] * 100), tmp_path / "pool", {})
    assert len(blocks.blocks_of(pool)) == pytest.approx(4, abs=1)


def test_rows_of_a_file_are_lists_for_steps(pool, student):
    assert run(pool, student) == 0
    folder = find_scores(Pool(pool)).folder
    schema = pq.read_schema(folder / "steps.parquet")
    assert schema.names == [
        "id",
        "step_starts",
        "step_tokens",
        "galp",
        "lalp_0",
        "lalp_1",
        "lalp_2",
    ]


class Words(StepSplitter):
    """A user's own: a word is a step."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def spans(self, text, hints=None):
        edges = [0, *range(self.size, len(text), self.size), len(text)]
        return list(zip(edges, edges[1:], strict=False)) if text else []


class Broken(StepSplitter):
    """Leaves out the first character."""

    def spans(self, text, hints=None):
        return [(1, len(text))]


def test_a_splitter_of_ones_own(pool, student, capsys):
    path = f"{__name__}.Words"
    assert run(pool, student, "--data.splitter", path, "--data.splitter.size", 9) == 0
    assert find_scores(Pool(pool)).info["splitter"]["arguments"] == {"size": 9}
    assert run(pool, student, "--data.splitter", "FixedTokenSteps", "--data.splitter.size", 8) == 0
    assert len(list(Path(pool).glob("columns/scores-*"))) == 2
    message = refused(capsys, pool, student, "--data.splitter", f"{__name__}.Broken")
    assert "Broken.spans gave [(1, " in message
    assert "for trace 'sum-000'; needed: pairs (start, end)" in message


def test_a_folder_for_runs_that_cannot_be_made(pool, student, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    given = ["--trainer.default_root_dir", tmp_path / "file" / "runs"]
    assert "Not a directory" in refused(capsys, pool, student, *given)


# -- what the scores are kept by -------------------------------------------------------------------


class Longer(Words):
    """Inherits where it cuts."""


class Nameless(StepSplitter):
    """Its arguments have no names."""

    def __init__(self, **given) -> None:
        self.given = given

    def spans(self, text, hints=None):
        return [(0, len(text))]


class Everything(StepSplitter):
    """Its arguments have no names."""

    def __init__(self, *given) -> None:
        self.given = given

    def spans(self, text, hints=None):
        return [(0, len(text))]


def test_sources_of_all_classes_of_a_splitter_are_told(pool, student):
    scoring = ResponseScoring(pool, student, splitter=Longer())
    told = scoring.made_by["splitter"]["sources"]
    assert [name for _, name, _ in told] == ["Longer", "Words"]
    assert all(len(source) == 64 for _, _, source in told)


@pytest.mark.parametrize(("name", "said"), [("Nameless", "**given"), ("Everything", "*given")])
def test_arguments_without_a_name_are_refused(pool, student, capsys, name, said):
    message = refused(capsys, pool, student, "--data.splitter", f"{__name__}.{name}")
    assert f"{name} takes {said}; scores are kept by the arguments" in message


KINDS = {
    "plain": {},
    "splitter": {"splitter": FixedTokenSteps(8)},
    "its arguments": {"splitter": FixedTokenSteps(9)},
    "windows": {"windows": [0, 1]},
    "shares": {"windows": [0, 1.0]},
    "text": {"scored_text": "tagged"},
    "ifd": {"ifd": False},
    "system": {"system_prompt": "Be brief."},
}


def test_whatever_decides_a_score_decides_its_folder(pool, student, monkeypatch):
    key = lambda given: digest(ResponseScoring(pool, student, **given).made_by)  # noqa: E731
    keys = {name: key(given) for name, given in KINDS.items()}
    monkeypatch.setattr(scoring_data, "version", lambda _: "0.0")
    keys["versions"] = key({})
    monkeypatch.undo()
    monkeypatch.setattr(scoring_data, "_code_digest", lambda: "edited")
    keys["code"] = key({})
    assert len(set(keys.values())) == len(keys)


def test_the_dtype_decides_the_folder(pool, student):
    assert run(pool, student) == 0
    assert run(pool, student, "--model.dtype", "bfloat16") == 0
    assert len(list(Path(pool).glob("columns/scores-*"))) == 2


# modules that deciding ones import and that change no value
NOT_DECIDING = {
    *("errors", "files", "manners", "traces/pool", "student/responses", "student/loading"),
    *("student/module", "student/host_memory", "evaluation/progress"),
    *("models", "data/assemble", "data/identity"),
    "student/loss",  # a record and the size of a part
}


def test_what_deciding_code_imports_decides_or_is_known_not_to():
    found = set()
    for name in scoring_data.DECIDING:
        tree = ast.parse((ROOT / "nt_lightning" / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("nt_lightning."):
                names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
                paths = [one.partition(".")[2].replace(".", "/") for one in names]
                found |= {one for one in paths if (ROOT / "nt_lightning" / f"{one}.py").is_file()}
    assert found - set(scoring_data.DECIDING) - NOT_DECIDING == set()
    assert {"student/head", "student/attention", "traces/formatting"} <= found


@pytest.mark.parametrize("name", ["student/head", "student/naturalness/verify"])
def test_an_edit_of_deciding_code_is_known(monkeypatch, name):
    before = scoring_data._code_digest.__wrapped__()
    plain = scoring_data.sha256_file
    edited = ROOT / "nt_lightning" / f"{name}.py"
    monkeypatch.setattr(
        scoring_data, "sha256_file", lambda file: "x" if file == edited else plain(file)
    )
    assert scoring_data._code_digest.__wrapped__() != before


def test_overwrite_takes_no_block_that_was_left(pool, student, monkeypatch):
    """Blocks of an interrupted run, of these limits and of others, with scores that are wrong."""
    assert run(pool, student) == 0
    (folder,) = Path(pool).glob("columns/scores-*")
    files = blocks.BlockFiles(folder, "cpu")
    right = tables_of(pool)
    with monkeypatch.context() as patch:
        patch.setattr(blocks.BlockFiles, "remove", lambda self: None)
        assert run(pool, student, "--overwrite", "true") == 0
    (block,) = files.folder.glob("*")
    table = pq.read_table(block)
    wrong = table.set_column(table.column_names.index("galp"), "galp", pa.array([0.0] * NUM))
    pq.write_table(wrong, block)
    other = files.folder.with_name(f".{folder.name}-01234567.work")
    other.mkdir()
    assert run(pool, student, "--overwrite", "true") == 0
    assert all(one.equals(two) for one, two in zip(tables_of(pool), right, strict=True))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
