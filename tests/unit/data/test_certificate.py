"""The mask certificate: sound data pass for every template, and every planted defect is named."""

import json

import numpy as np
import pyarrow as pa
import pytest
from lightning.pytorch import Trainer

from nt_lightning.data import batch, certificate, mask_checks
from nt_lightning.data.certificate import CERTIFICATE, certify, failures
from nt_lightning.data.prepare import TOKENISED, Assigned, load_tokenised, tokenise
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.traces.formatting import EncodedExample, PromptFormatter, response_text
from nt_lightning.traces.modes import MODE_NAMES, ThinkModes
from nt_lightning.traces.pool import write_pool
from tests.tiny import save_tiny_pool, save_tiny_student, tiny_tokenizer
from tests.unit.traces.chat_templates import CHATS, byte_tokenizer

MODES = ThinkModes().with_num_words(40)
ANSWERS = ["7", "Answer: 7 ", "é≠∞ 数学\n\n- a\n- b", "7 < 8 <|other|> 9", "so\u0301", "x" * 300]
ROWS = pa.table(
    {
        "id": [f"t{i}" for i in range(12)],
        "question": [f"What is {i} + 4 — é?\n" for i in range(12)],
        "teacher": ["a"] * 12,
        "reasoning": [f"I add.\n\nThen {i}\u00a0+ 4 = ½ 数" * (1 + i) for i in range(12)],
        "answer": [ANSWERS[i % 6] for i in range(12)],
    }
)
CODES = np.array([i % 3 for i in range(12)], dtype=np.int8)


def certified(folder, formatter, *, rows=None, on_long="error", max_tokens=4096, change=None):
    """The certificate of the traces, whose file ``change`` may have altered, and the losses."""
    pool = write_pool(ROWS, folder / "pool", {})
    rows = np.arange(12) if rows is None else rows
    length = {"max_tokens": max_tokens, "on_long": on_long}
    path = folder / "train.arrow"
    losses = tokenise(pool, Assigned(rows, CODES[rows]), formatter, MODES, **length, path=path)
    if change is not None:
        rewrite(path, change)
    info = {"modes": MODES.to_dict(), "digest": "d", "lost": {"train": vars(losses)}}
    return certify(pool, folder, formatter, info, **length), losses


def rewrite(path, change):
    rows = change(load_tokenised(path).to_list())
    table = pa.Table.from_pylist(rows, schema=TOKENISED)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TOKENISED) as writer:
        writer.write_table(table)


def failing(found):
    return {name: check["ids"] for name, check in found["checks"].items() if check["failed"]}


@pytest.fixture
def formatter():
    return PromptFormatter(tiny_tokenizer())


@pytest.mark.parametrize("name", CHATS)
def test_sound_data_pass_for_every_template(tmp_path, name):
    found, _ = certified(tmp_path, PromptFormatter(byte_tokenizer(name)))
    assert failing(found) == {}
    assert found["passed"]


def test_counts_are_those_of_the_texts(tmp_path):
    """One token is one byte: a response has its bytes, and the stop token."""
    found, _ = certified(tmp_path, PromptFormatter(byte_tokenizer("smollm2")))
    labels = 0
    for row, code in zip(ROWS.to_pylist(), CODES.tolist(), strict=True):
        reasoning = row["reasoning"] if MODE_NAMES[code] != "no_think" else None
        labels += len(response_text(reasoning, row["answer"]).encode()) + 1
    split = found["splits"]["train"]
    assert (split["traces"], split["labels"], split["cut"]) == (12, labels, 0)
    tokens = load_tokenised(tmp_path / "train.arrow")["num_tokens"]
    assert split["tokens"] == sum(tokens)
    assert found["stop_token"] == "<|im_end|>"
    assert set(found["versions"]) == {"nt_lightning", "tokenizers", "transformers"}


# -- planted defects -------------------------------------------------------------------------------

THREE, FIVE = 3, 5  # rows that are altered: no_think and think


def altered(row, number):
    """What ``DEFECTS`` do to the ids and the prompt's length of one trace."""
    return lambda rows: [row(r) if i == number else r for i, r in enumerate(rows)]


def put(row, ids, num_prompt=None):
    prompt = row["num_prompt"] if num_prompt is None else num_prompt
    return row | {"input_ids": ids, "num_tokens": len(ids), "num_prompt": prompt}


def without_thinking(row):
    """The think block is gone, as some templates remove it."""
    ids, start = row["input_ids"], row["num_prompt"]
    tail = tiny_tokenizer()("Answer: 7 ", add_special_tokens=False)["input_ids"]
    return put(row, [*ids[:start], *tail, ids[-1]])


def with_thinking(row):
    think = tiny_tokenizer()("<think>\nR\n</think>\n\n", add_special_tokens=False)["input_ids"]
    ids, start = row["input_ids"], row["num_prompt"]
    return put(row, [*ids[:start], *think, *ids[start:]])


ENDOFTEXT = 0
DEFECTS = {
    "a token of the response is masked": (
        lambda r: put(r, r["input_ids"], r["num_prompt"] + 1),
        {"mask"},
    ),
    "a token of the prompt is trained": (
        lambda r: put(r, r["input_ids"], r["num_prompt"] - 1),
        {"mask"},
    ),
    "another token in the prompt": (
        lambda r: put(r, [r["input_ids"][0], 9, *r["input_ids"][2:]]),
        {"prompt"},
    ),
    "a second first token": (
        lambda r: put(r, [r["input_ids"][0], *r["input_ids"]], r["num_prompt"] + 1),
        {"prompt", "mask"},
    ),
    "no stop token": (lambda r: put(r, r["input_ids"][:-1]), {"stop"}),
    "another stop token": (lambda r: put(r, [*r["input_ids"][:-1], ENDOFTEXT]), {"stop"}),
    "two stop tokens": (
        lambda r: put(r, [*r["input_ids"], r["input_ids"][-1]]),
        {"stop"},
    ),
    "the answer's end is lost": (
        lambda r: put(r, [*r["input_ids"][:-3], r["input_ids"][-1]]),
        {"answer"},
    ),
    "another length is written": (lambda r: r | {"num_tokens": r["num_tokens"] + 1}, {"trace"}),
    "another trace's id": (lambda r: r | {"id": "nobody"}, {"trace"}),
    "an id twice": (lambda r: r | {"id": "t0"}, {"trace"}),
}


@pytest.mark.parametrize("number", [THREE, FIVE])
@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_named(tmp_path, formatter, monkeypatch, name, number):
    monkeypatch.setattr(certificate, "_AT_A_TIME", 4)  # the row is counted over batches
    row, wanted = DEFECTS[name]
    found, _ = certified(tmp_path, formatter, change=altered(row, number))
    checks = failing(found)
    assert not found["passed"]
    moved = {"think", "answer"} if "prompt" in wanted or name == "two stop tokens" else set()
    assert wanted <= set(checks) <= wanted | moved
    named = {"another trace's id": "nobody", "an id twice": "t0"}.get(name, f"t{number}")
    assert all(ids == [named] for ids in checks.values())


@pytest.mark.parametrize(("number", "row"), [(FIVE, without_thinking), (THREE, with_thinking)])
def test_a_response_of_the_other_system_is_named(tmp_path, formatter, number, row):
    rows = np.array([number])
    found, _ = certified(tmp_path, formatter, rows=rows, change=altered(row, 0))
    assert "think" in failing(found)


def test_what_a_tokenizer_adds_is_named(tmp_path, monkeypatch):
    """Texts are tokenised as a careless caller does: with the tokenizer's own first token."""
    formatter = PromptFormatter(byte_tokenizer("llama3"))
    tokenizer = formatter.tokenizer
    monkeypatch.setattr(
        PromptFormatter, "encode_texts", lambda self, texts: tokenizer(list(texts))["input_ids"]
    )
    found, _ = certified(tmp_path, formatter)
    checks = failing(found)
    assert set(checks) >= {"prompt", "added"}
    assert len(checks["prompt"]) == len(checks["added"]) == 10  # the first ten of twelve


def test_a_token_that_the_text_spells_out_was_not_added(tmp_path):
    formatter = PromptFormatter(byte_tokenizer("llama3"))
    table = ROWS.set_column(4, "answer", pa.array(["<|begin_of_text|> is first"] * 12))
    pool = write_pool(table, tmp_path / "pool", {})
    length = {"max_tokens": 4096, "on_long": "error"}
    chosen = Assigned(np.arange(12), CODES)
    tokenise(pool, chosen, formatter, MODES, **length, path=tmp_path / "train.arrow")
    info = {"modes": MODES.to_dict(), "digest": "d", "lost": {}}
    assert failing(certify(pool, tmp_path, formatter, info, **length)) == {}


def test_the_mask_is_that_of_training(tmp_path, formatter, monkeypatch):
    def one_too_many(ids, positions, num_prompt):
        return np.where(positions <= num_prompt, batch.IGNORE_INDEX, ids)

    monkeypatch.setattr(mask_checks, "labels_of", one_too_many)
    found, _ = certified(tmp_path, formatter)
    assert set(failing(found)) == {"mask"}
    assert found["checks"]["mask"]["failed"] == 12


def test_traces_that_the_user_lets_be_cut_are_counted(tmp_path, formatter):
    found, losses = certified(tmp_path, formatter, on_long="cut", max_tokens=200)
    assert losses.answers > 3
    assert found["passed"]
    assert found["splits"]["train"]["cut"] == losses.answers


def test_a_stop_token_that_was_lost_is_not_taken_for_a_cut(tmp_path, formatter):
    def change(rows):
        whole = next(row for row in rows if row["num_tokens"] < 200)
        fill = [9] * (200 - whole["num_tokens"])
        ids = [*whole["input_ids"][:-1], *fill, 9]
        return [put(row, ids) if row is whole else row for row in rows]

    found, _ = certified(tmp_path, formatter, on_long="cut", max_tokens=200, change=change)
    assert set(failing(found)) == {"stop"}


# -- a run ---------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("NT_CACHE", str(tmp_path / "cache"))
    pool = save_tiny_pool(tmp_path / "pool", 20)
    student = save_tiny_student(tmp_path / "student")
    data = RandomSelection(pool, student, num_val=4, max_tokens=256, tokens_per_step=512)
    data.trainer = Trainer(accelerator="cpu", logger=False, max_epochs=1, barebones=True)
    return data


def test_a_run_keeps_the_certificate_beside_its_data(data):
    data.prepare_data()
    data.setup("fit")
    kept = json.loads((data.folder / CERTIFICATE).read_text())
    assert kept["passed"]
    assert kept["digest"] == data.info["digest"]
    assert {name: split["traces"] for name, split in kept["splits"].items()} == {
        "train": 16,
        "val": 4,
    }


def test_fit_refuses_data_that_fail(data, monkeypatch):
    encode = PromptFormatter.encode

    def loses_stop(self, examples):
        found = encode(self, examples)
        return [
            EncodedExample(ids[:-1], num_prompt) if example.id == "sum-003" else (ids, num_prompt)
            for example, (ids, num_prompt) in zip(examples, map(tuple, found), strict=True)
        ]

    def as_examples(self, examples):
        return [EncodedExample(*found) for found in loses_stop(self, examples)]

    monkeypatch.setattr(PromptFormatter, "encode", as_examples)
    data.prepare_data()
    data.setup("preview")  # it can be looked at
    wanted = r"stop: not of 1 of 20 traces \(sum-003\) it holds that the stop token is its last"
    with pytest.raises(UserError, match=wanted):
        data.setup("fit")


def test_a_line_names_the_first_ids():
    checks = {"stop": {"failed": 12, "ids": ["a", "b"], "holds": "h"}, "mask": {"failed": 0}}
    said = failures({"splits": {"train": {"traces": 20}}, "checks": checks})
    assert said == "stop: not of 12 of 20 traces (a, b, ...) it holds that h"
