"""The data module: what is cached, what is refused, what is counted."""

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightning.pytorch import Trainer

from nt_lightning.data.assemble import pick
from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.filters import Filters
from nt_lightning.data.identity import own_arguments
from nt_lightning.data.mixing import Mixing
from nt_lightning.data.selections import AgreementSelection, RandomSelection
from nt_lightning.data.semantic import NearestNeighbourSelection, SemanticSelection
from nt_lightning.errors import UserError
from nt_lightning.files import cache_dir
from nt_lightning.traces.embeddings import Part, key_numbers, text_digest, write_embeddings
from nt_lightning.traces.modes import MODE_NAMES, ThinkMode, ThinkModes
from nt_lightning.traces.pool import Pool, write_pool
from tests.tiny import save_tiny_pool, save_tiny_student, tiny_rows, tiny_tokenizer


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return save_tiny_pool(tmp_path_factory.mktemp("pool") / "pool")


def ready(pool, student, **arguments):
    options = {"max_tokens": 256, "tokens_per_step": 512, "num_val": 4, **arguments}
    data = RandomSelection(pool, student, **options)
    data.trainer = Trainer(accelerator="cpu", logger=False, max_epochs=1, barebones=True)
    data.prepare_data()
    data.setup("fit")
    return data


def test_labels_are_the_response_and_end_with_the_stop_token(pool, student):
    data = ready(pool, student, mixing=Mixing("difficulty"))
    tokenizer = data.formatter.tokenizer
    agree = {row["id"]: row["models_agree"] for row in tiny_rows(64).to_pylist()}
    seen = []
    for batch in data.train_dataloader():
        borders = batch.cu_seqlens.tolist()
        for index, (start, end) in enumerate(zip(borders, borders[1:], strict=False)):
            (trace_id,) = data.trace_ids([int(batch.rows[index])]) if len(batch.rows) else (None,)
            labels = batch.labels[0, start:end]
            if trace_id is None:
                assert (labels == IGNORE_INDEX).all()
                continue
            seen.append(trace_id)
            trained = tokenizer.decode(labels[labels != IGNORE_INDEX])
            masked = tokenizer.decode(batch.input_ids[0, start:end][labels == IGNORE_INDEX])
            mode = data.modes[MODE_NAMES[int(batch.modes[index])]]
            number = int(trace_id[4:])
            answer = f"Answer: {number + number % 7}<|im_end|>"
            assert masked.endswith(f"{mode.instruction}<|im_end|>\n<|im_start|>assistant\n")
            assert f"What is {number} + {number % 7}?" in masked
            assert "What is" not in trained
            assert (mode.name == "no_think") == agree[trace_id]
            if agree[trace_id]:
                assert trained == answer
            else:
                assert trained.startswith("<think>\nI add")
                assert trained.endswith(f".\n</think>\n\n{answer}")
    assert len(seen) == len(set(seen)) == 60


def test_num_words_is_the_mean_of_system2(pool, student):
    data = ready(pool, student)
    rows = tiny_rows(64).to_pylist()
    kept = {row["id"] for row in data.traces("train")}
    words = [
        len(row["reasoning"].split()) + len(row["answer"].split())
        for row in rows
        if row["id"] in kept
    ]
    mean = int(float(f"{sum(words) / len(words):.2g}"))
    assert data.modes.think.instruction.endswith(f"Use about {mean} words")


def test_the_first_example_of_each_mode_is_shown(pool, student, caplog):
    with caplog.at_level(logging.INFO, "nt_lightning.data.show"):
        ready(pool, student, mixing=Mixing("difficulty"))
    shown = [message for message in caplog.messages if message.startswith("first ")]
    assert [message.split()[1] for message in shown] == list(MODE_NAMES)
    shown = shown[2]
    assert "[masked><|im_start|>system" in shown
    assert "<masked]<think>\nI add" in shown


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"num_val": 5},
        {"num_traces": 30},
        {"mixing": Mixing("none")},
        {"teachers": ["long"]},
        {"system_prompt": "Be brief."},
        {"max_tokens": 255},
        {"on_long": "cut"},
        {"filters": Filters(loops=True)},
        {"modes": ThinkModes(no_think=ThinkMode("no_think", "Just answer."))},
    ],
)
def test_the_cache_knows_everything_that_matters(pool, student, change):
    options = {"max_tokens": 256, "tokens_per_step": 512, "num_val": 4}
    before = RandomSelection(pool, student, **options).folder
    assert before == RandomSelection(pool, student, **options).folder
    assert before != RandomSelection(pool, student, **{**options, **change}).folder


def test_another_template_or_pool_is_another_cache(pool, student, tmp_path):
    options = {"max_tokens": 256, "tokens_per_step": 512}
    before = RandomSelection(pool, student, **options).folder
    write_pool(tiny_rows(63), tmp_path / "pool", {})
    assert RandomSelection(str(tmp_path / "pool"), student, **options).folder != before
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("helpful", "kind")
    tokenizer.save_pretrained(tmp_path / "student")
    assert RandomSelection(pool, str(tmp_path / "student"), **options).folder != before


def test_too_long_is_an_error_by_default(pool, student):
    with pytest.raises(UserError, match=r"trace sum-\d+ has \d+ tokens .* max_tokens is 80"):
        ready(pool, student, max_tokens=80)


def test_dropped_and_cut_traces_are_counted(pool, student):
    whole = ready(pool, student, num_val=0)
    lengths = {row["id"]: row for row in whole.traces("train")}
    long = [row for row in lengths.values() if row["num_tokens"] > 90]
    assert 0 < len(long) < 60
    dropped = ready(pool, student, num_val=0, max_tokens=90, on_long="drop")
    assert dropped.info["lost"]["train"] == {
        "traces": len(long),
        "tokens": sum(row["num_tokens"] - row["num_prompt"] for row in long),
        "answers": len(long),
        "ids": [row["id"] for row in long][:10],
    }
    cut = ready(pool, student, num_val=0, max_tokens=90, on_long="cut")
    assert max(cut.traces("train")["num_tokens"]) == 90
    assert cut.info["lost"]["train"]["traces"] == 0
    assert cut.info["lost"]["train"]["tokens"] == sum(row["num_tokens"] - 90 for row in long)
    assert cut.info["lost"]["train"]["answers"] == len(long)


def test_a_tokenizer_without_template(pool, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no chat template"):
        ready(pool, str(tmp_path))


def test_system2_without_reasoning(student, tmp_path):
    rows = tiny_rows(10)
    silent = rows.set_column(3, "reasoning", pa.array([""] * 10))
    write_pool(silent, tmp_path / "pool", {})
    with pytest.raises(UserError, match="trace sum-.* has no reasoning, but the mixing"):
        ready(str(tmp_path / "pool"), student, num_val=0)
    ready(str(tmp_path / "pool"), student, num_val=0, mixing=Mixing("none"))


class TwoRows:
    """Makes a pool, and counts how often."""

    made = 0

    def fingerprint(self):
        return "f" * 64

    def make(self):
        TwoRows.made += 1
        return tiny_rows(2)

    def lineage(self):
        return {"made_by": "TwoRows"}


def test_a_pool_maker_makes_its_pool_once(student):
    for seed in (0, 1):
        ready(TwoRows(), student, num_val=0, seed=seed)
    assert TwoRows.made == 1
    manifest = cache_dir() / "pools" / ("f" * 32) / "manifest.json"
    assert json.loads(manifest.read_text())["lineage"] == {"made_by": "TwoRows"}


def test_steps_are_counted_from_the_plan(pool, student):
    data = ready(pool, student)
    per_epoch = data.plan(0).num_steps
    assert per_epoch > 3
    assert data.trainer.accumulate_grad_batches == 2
    for options, wanted in [
        ({"max_epochs": 3}, 3 * per_epoch),
        ({"max_steps": 3}, 3),
        ({"max_epochs": 2, "max_steps": 100}, 2 * per_epoch),
        ({"max_epochs": 2, "limit_train_batches": 4}, 4),
        ({"max_epochs": 2, "limit_train_batches": 5}, 4),
        ({"max_epochs": 2, "limit_train_batches": 1}, 2),
        ({"max_epochs": 1, "limit_train_batches": 0.5}, per_epoch // 2),
    ]:
        data.trainer = Trainer(accelerator="cpu", logger=False, **options)
        data.trainer.accumulate_grad_batches = 2
        assert data.num_steps == wanted


@pytest.mark.parametrize(("limit", "kept"), [(5, 4), (1, 2), (0.5, None), (1.0, 1.0)])
def test_a_limit_of_batches_leaves_whole_steps(pool, student, limit, kept):
    data = RandomSelection(pool, student, max_tokens=256, tokens_per_step=512)
    data.trainer = Trainer(accelerator="cpu", logger=False, limit_train_batches=limit)
    data.prepare_data()
    data.setup("fit")
    steps = data.plan(0).num_steps
    wanted = 2 * (steps // 2) if kept is None else kept
    assert data.trainer.limit_train_batches == wanted
    loader = data.train_dataloader()
    for _ in loader:
        pass
    assert len(loader.plan_sampler) == (2 * steps if kept == 1.0 else wanted)
    loader._done = len(loader.plan_sampler)
    assert loader.state_dict() == {"epoch": 1, "batches": 0}


class Hardest(RandomSelection):
    def __init__(self, pool, model_name, threshold=0, **rest):
        super().__init__(pool, model_name, **rest)
        self.threshold = threshold


def test_a_subclass_and_its_arguments_have_traces_of_their_own(pool, student):
    one = Hardest(pool, student, threshold=1)
    assert own_arguments(one, TraceDataModule) == {"threshold": 1}
    folders = {
        data.folder
        for data in (one, Hardest(pool, student, threshold=2), RandomSelection(pool, student))
    }
    assert len(folders) == 3


class Forgetful(RandomSelection):
    def __init__(self, *args, threshold=0, **rest):
        super().__init__(*args, **rest)


def test_an_argument_that_is_not_kept_is_named(pool, student):
    with pytest.raises(UserError, match="Forgetful has no attribute 'threshold'"):
        _ = Forgetful(pool, student, threshold=2).folder


def test_system1_alone_asks_think_for_the_length_of_its_traces(pool, student):
    data = ready(pool, student, mixing=Mixing("none"))
    rows = {row["id"]: row for row in tiny_rows(64).to_pylist()}
    words = [
        len(f"{rows[i]['reasoning']} {rows[i]['answer']}".split())
        for i in data.traces("train")["id"]
    ]
    mean = int(float(f"{sum(words) / len(words):.2g}"))
    assert data.modes.think.instruction.endswith(f"Use about {mean} words")


def test_predict_tokenises_nothing_and_knows_the_modes(pool, student):
    """A trace that is too long for training is no hindrance."""
    data = RandomSelection(pool, student, max_tokens=8, tokens_per_step=8)
    data.trainer = Trainer(accelerator="cpu", logger=False)
    data.trainer.state.fn = "predict"
    data.prepare_data()
    data.setup("predict")
    assert data.modes == ready(pool, student, num_val=0).modes
    data.use_prompts(ThinkModes().with_num_words(3), "Be brief.")
    assert data.modes.think.instruction.endswith("about 3 words")
    assert "Be brief." in data.formatter.prompt_text("Hi", data.modes.think)


def test_predict_needs_a_question_for_each_device(pool, student, monkeypatch):
    data = RandomSelection(pool, student)
    data.trainer = Trainer(accelerator="cpu", logger=False)
    assert data.predict_dataloader()
    monkeypatch.setattr(Trainer, "world_size", 65)
    with pytest.raises(UserError, match="has 64 questions for 65 devices; .* fewer with --trainer"):
        data.predict_dataloader()


def test_validation_questions_are_the_same_for_other_teachers(student, tmp_path):
    rows = tiny_rows(32)
    names = pa.array([f"other-{i}" for i in range(32)])
    other = rows.set_column(rows.column_names.index("id"), "id", names)
    other = other.set_column(
        rows.column_names.index("teacher"), "teacher", pa.array(["other"] * 32)
    )
    write_pool(pa.concat_tables([rows, other]), tmp_path / "pool", {})
    teachers = rows["teacher"].unique().to_pylist()
    seen = [
        {
            int(i.rpartition("-")[2])
            for i in ready(str(tmp_path / "pool"), student, teachers=t).traces("val")["id"]
        }
        for t in (teachers, ["other"])
    ]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("mixing", [Mixing(), Mixing("difficulty")])
def test_no_text_is_read_to_select(pool, monkeypatch, mixing):
    read = []
    original = pq.read_table

    def recorded(file, columns=None, **options):
        read.append(columns)
        return original(file, columns=columns, **options)

    monkeypatch.setattr(pq, "read_table", recorded)
    for data in (RandomSelection(pool, num_traces=9), AgreementSelection(pool=pool, num_traces=9)):
        picked = pick(Pool(pool), data.wanted, data)
        allowed = {"id", "question_key", "teacher", "models_agree"}
        assert len(picked.chosen.train) == 9
        assert read
        assert all(set(columns) <= allowed for columns in read)


def test_embeddings_made_anew_are_another_cache(pool, student, tmp_path):
    def embed(folder, created):
        keys = np.unique(key_numbers(Pool(folder).read(["question_key"])["question_key"]))
        vectors = np.random.default_rng(0).normal(size=(len(keys), 4)).astype(np.float16)
        info = {"model_name": "tiny", "text_digest": text_digest(keys), "created": created}
        target = Path(folder) / "columns" / "embedding-0"
        write_embeddings(target, keys, 4, [Part(np.arange(len(keys)), vectors)], info)

    def folders():
        semantic = SemanticSelection(pool=here, model_name=student, embedding_model="tiny")
        near = NearestNeighbourSelection(
            pool=here, model_name=student, embedding_model="tiny", neighbours_of=curated
        )
        return semantic.folder, near.folder, RandomSelection(here, student).folder

    here = str(write_pool(tiny_rows(20), tmp_path / "here", {}).folder)
    curated = str(write_pool(tiny_rows(5), tmp_path / "curated", {}).folder)
    for folder in (here, curated):
        embed(folder, "2026-01-01T00:00:00+00:00")
    first = folders()
    embed(curated, "2026-01-02T00:00:00+00:00")
    second = folders()
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]
    embed(here, "2026-01-02T00:00:00+00:00")
    third = folders()
    assert [a == b for a, b in zip(second, third, strict=True)] == [False, False, True]


def test_a_pool_of_select_is_drawn_from_with_other_luck(tmp_path):
    rows = tiny_rows(64)
    direct = write_pool(rows, tmp_path / "direct", {})
    selected = write_pool(rows, tmp_path / "selected", {"selections": 1})
    twice = write_pool(rows, tmp_path / "twice", {"selections": 2})
    taken = []
    for made in (direct, selected, twice):
        data = RandomSelection(str(made.folder), num_traces=20)
        taken.append(pick(made, data.wanted, data).chosen.train.tolist())
    assert taken[0] != taken[1] != taken[2] != taken[0]
