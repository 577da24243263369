"""Decontamination and dedup on real benchmarks and training sets, beside the checkout."""

import csv
import io
import json
import random
import re
import string
import zipfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.pool.benchmark_questions import BenchmarkQuestions, load_questions
from nt_lightning.pool.decontaminate import Contamination
from nt_lightning.pool.overlap.near_duplicates import (
    Sketches,
    choose_bands,
    jaccard,
    sets_of_runs,
)
from nt_lightning.pool.overlap.words import split_words
from tests.integration.real_data import real_file

CLEAN = "A farmer has some hens. How many?"
SIGNS = "+-*/=<>^"  # of arithmetic: not punctuation, without them it is another question
PUNCTUATION = "".join(sign for sign in string.punctuation if sign not in SIGNS)
EDITS = {
    "verbatim": lambda text, rng: text,
    "upper": lambda text, rng: text.upper(),
    "lower": lambda text, rng: text.lower(),
    "blanks": lambda text, rng: re.sub(r"\s+", lambda _: rng.choice(["  ", "\n", " \t"]), text),
    "stripped": lambda text, rng: "".join(one for one in text if one not in PUNCTUATION),
    "blanked": lambda text, rng: "".join(" " if one in PUNCTUATION else one for one in text),
    "swapped": lambda text, rng: re.sub(r"[.,;:!?]", lambda _: rng.choice(".,;:!?"), text),
    "added": lambda text, rng: re.sub(" ", lambda _: rng.choice([" ", " ", ", ", " -- "]), text),
    "quotes": lambda text, rng: text.replace("'", "’").replace('"', "“"),
}
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
AFTER = '\n\nRemember to put your answer on its own line after "Answer:".'
BOX = "Please reason step by step, and put your final answer within \\boxed{}."
QUESTIONS = (
    "{}",
    "Answer the following question carefully. {} Explain every step that you take.",
    "I found this in an old book, can you help me: {}",
    "Task 3\n\n{}\n\nShow your work.",
)
OPTIONS = (  # as others write them
    lambda texts: "\n" + "\n".join(texts),
    lambda texts: "\n" + "\n".join(f"{a}) {b}" for a, b in zip("ABCDEFGHIJ", texts, strict=False)),
    lambda texts: " " + " ".join(f"({a}) {b}" for a, b in zip("abcdefghij", texts, strict=False)),
    lambda texts: (
        "\nOptions:\n" + "\n".join(f"{a}. {b}" for a, b in zip("ABCDEFGHIJ", texts, strict=False))
    ),
    lambda texts: "\n" + "\n".join(f"{n}. {text}" for n, text in enumerate(texts, 1)),
    lambda texts: "\n\n* " + "\n* ".join(texts),
)
RESPONSES = (
    "Okay, so I remember a problem like this one. {} There the trick was to look at it twice.",
    "Hmm.\n\n{}\n\nThis one is similar.",
    'It says "{}" and I should answer that first.',
)


def gsm8k(split):
    lines = real_file("gsm8k", f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines]


def math_test():
    lines = real_file("benchmarks", "math500_test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["problem"] for line in lines]


def math_train():
    rows = json.loads(real_file("questions", "deepscaler_math_train.json").read_text("utf-8"))
    return [row["problem"] for row in rows]


def mmlu():
    packed = zipfile.ZipFile(real_file("benchmarks", "mmlu.zip"))
    rows = [
        row
        for name in sorted(packed.namelist())
        if re.fullmatch(r".*/test/.*\.csv", name)
        for row in csv.reader(io.StringIO(packed.read(name).decode("utf-8")))
    ]
    return of_texts("mmlu", [row[0] for row in rows], [row[1:5] for row in rows])


def mmlu_pro():
    name = "model_outputs_Meta-Llama-3_1-8B-Instruct_5shots"
    packed = zipfile.ZipFile(real_file("mmlu_pro", f"{name}.zip"))
    rows = json.loads(packed.read(f"{name}.json"))
    return of_texts("mmlu_pro", [r["question"] for r in rows], [r["options"] for r in rows])


def of_texts(name, texts, options):
    ids = [str(number) for number in range(len(texts))]
    with_options = ["\n".join([text, *own]) for text, own in zip(texts, options, strict=True)]
    return BenchmarkQuestions(name, ids, texts, with_options, {}, options)


@pytest.fixture(scope="module")
def gsm8k_test():
    (found,) = load_questions([], [str(real_file("gsm8k", "test.jsonl"))])
    return found


@pytest.fixture(scope="module")
def math_500():
    (found,) = load_questions([], [str(real_file("benchmarks", "math500_test.jsonl"))])
    return found


def quoting(benchmarks, **columns):
    """Quotes of the rows that are removed, by the row's number."""
    found = Contamination(benchmarks, 0.5)
    count = len(next(iter(columns.values())))
    table = {"question": [CLEAN] * count, **columns}
    table = {name: [*texts, CLEAN] for name, texts in table.items()}  # a row that stays
    table["id"] = [str(number) for number in range(count + 1)]
    list(found.clean(iter([pa.table(table)])))
    rows = [json.loads(line) for line in found.lines]
    return {int(row["id"]): row["quotes"] for row in rows}


@pytest.mark.parametrize(("name", "count", "short"), [("gsm8k", 582, 0), ("math", 100, 11)])
def test_all_questions_of_mip_overthinking_are_found(name, count, short, gsm8k_test, math_500):
    rows = json.loads(real_file("mip_overthinking", "data", f"{name}.json").read_text("utf-8"))
    texts = [row["question"] for row in rows]
    assert (split_words(texts).counts < 13).sum() == short  # no run of 13 words finds these
    assert len(quoting([gsm8k_test, math_500], question=texts)) == len(texts) == count


def test_no_planted_leak_is_missed(gsm8k_test, math_500):
    """500 leaks of four benchmarks, 200 of them of 3 to 12 words, edited and hidden in texts."""
    benchmarks = [gsm8k_test, math_500, mmlu(), mmlu_pro()]
    said = Contamination(benchmarks, 0.5).not_searched
    generic = {owner for owner, how in said.items() if how == "with its options"}
    lengths = [split_words(one.questions).counts for one in benchmarks]
    all_of = [[(b, n) for n in np.flatnonzero(counts >= 3)] for b, counts in enumerate(lengths)]
    short = [(b, n) for own in all_of for b, n in own if lengths[b][n] < 13]
    short += 100 * sorted(generic & set(short))  # few else
    rng = random.Random(0)
    rows, planted, words, with_options = [], [], [], 0
    for number in range(500):
        b, n = rng.choice(short) if number < 200 else rng.choice(all_of[number % 4])
        one = benchmarks[b]
        asked = one.questions[n]
        if (b, n) in generic:
            asked += rng.choice(OPTIONS)(one.options[n])
        asked = rng.choice(list(EDITS.values()))(asked, rng)
        column = rng.choice(["question", "reasoning", "answer"])
        around = rng.choice(QUESTIONS if column == "question" else RESPONSES)
        clean = {"question": CLEAN, "reasoning": "I think.", "answer": "7"}
        rows.append({**clean, column: around.format(asked)})
        planted.append((one.name, one.ids[n]))
        words.append(lengths[b][n])
        with_options += (b, n) in generic
    assert with_options > 50
    assert Counter(min(count, 13) for count in words)[13] < 300
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    found = quoting(benchmarks, **columns)
    named = {row: {(q["benchmark"], q["problem"]) for q in quotes} for row, quotes in found.items()}
    missed = [row for row, leak in enumerate(planted) if leak not in named.get(row, ())]
    assert [rows[row] for row in missed] == []
    for row, quotes in found.items():
        for quote in quotes:
            text = rows[row][quote["column"]]
            assert text[quote["start"] : quote["end"]] == quote["span"]


def test_what_says_little_is_found_with_its_options():
    """All 126 of MMLU and MMLU-Pro, in six notations, each by its own problem."""
    benchmarks = [mmlu(), mmlu_pro()]
    said = Contamination(benchmarks, 0.5).not_searched
    assert Counter(said.values()) == {"with its options": 126}
    planted = [(notation, b, n) for notation in OPTIONS for b, n in said]
    asked = [
        "So: " + benchmarks[b].questions[n] + notation(benchmarks[b].options[n])
        for notation, b, n in planted
    ]
    found = quoting(benchmarks, question=asked)
    for row, (_, b, n) in enumerate(planted):
        assert benchmarks[b].ids[n] in {quote["problem"] for quote in found[row]}


@pytest.mark.parametrize(
    "ends", [(DAPO, ""), (DAPO, AFTER), ("", f"\n{BOX}"), (DAPO[:-2], " " + BOX)]
)
@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_no_leak_is_missed_where_prompts_have_instructions(name, ends, tmp_path):
    """The benchmark as a file of prompts, the pool bare questions, or with one word else."""
    texts = gsm8k("test") if name == "gsm8k" else math_test()
    path = tmp_path / "prompts.jsonl"
    prompts = [{"prompt": ends[0] + text + ends[1]} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in prompts), encoding="utf-8")
    benchmarks = load_questions([], [str(path)])
    assert len(quoting(benchmarks, question=texts)) == len(texts)
    assert quoting(benchmarks, question=[f"{ends[0]}How many hens are there?{ends[1]}"]) == {}
    if name == "gsm8k":
        changed = [_with_one_word_else(text) for text in texts]
        assert len(quoting(benchmarks, question=changed)) == 1228  # as many as without instruction
        changed = [ends[0] + text + ends[1] for text in changed]
        assert len(quoting(benchmarks, question=changed)) == 1228


def _with_one_word_else(text):
    words = text.split()
    words[len(words) // 2] = "zebra"
    return " ".join(words)


@pytest.mark.parametrize(
    ("train", "number"),
    [(lambda: gsm8k("train"), 2), (math_train, 54)],
    ids=["gsm8k", "math"],
)
def test_training_sets_quote_little_of_their_tests(train, number, gsm8k_test, math_500):
    """Looked at one by one: templates with other numbers, no problem is the same."""
    texts = train()
    found = quoting([gsm8k_test if len(texts) == 7473 else math_500], question=texts)
    assert len(found) == number
    assert len(found) < 0.01 * len(texts)
    assert {quote["rule"] for quotes in found.values() for quote in quotes} == {"overlap"}


def test_math_train_has_problems_of_mmlu():
    """A true leak: college and high-school mathematics of MMLU come from MATH."""
    found = quoting([mmlu()], question=math_train())
    assert sum(any(quote["rule"] == "whole" for quote in quotes) for quotes in found.values()) == 75


def test_clean_reasoning_is_not_taken_for_a_leak(math_500):
    """R1's and QwQ's traces on GSM8K quote none of 26,574 other questions, short ones included."""
    folder = real_file("mip_overthinking", "data", "gsm8k.json").parents[1] / "response/gsm8k"
    texts = []
    for name, key in (("deepseekR1", "deepseek-reasoner (question)"), ("QwQ", "model_answer")):
        file = folder / "normal" / name / "response.json"
        texts += [row[key] for row in json.loads(file.read_text("utf-8"))]
    assert len(texts) == 1164
    assert quoting([math_500, mmlu(), mmlu_pro()], reasoning=texts) == {}


@pytest.mark.parametrize("instruction", ["", DAPO], ids=["bare", "instructed"])
def test_near_duplicates_of_real_questions_are_those_of_all_pairs(instruction):
    """Every pair of 7,474 questions compared exactly, against MinHash."""
    texts = [instruction + text for text in dict.fromkeys(math_train())]
    texts = texts[: 3000 if instruction else None]
    sketches = Sketches(2, choose_bands(0.55))
    sketches.add(texts)
    pairs = sketches.similar_pairs(0.55)
    sets = sets_of_runs(texts, 2)
    assert all(jaccard(sets[one], sets[other]) >= 0.55 for one, other in pairs)
    wanted = all_similar_pairs(sets, 0.55)
    assert len(wanted) > 500
    assert _num_clusters(pairs, len(texts)) <= _num_clusters(wanted, len(texts)) + 2


def all_similar_pairs(sets, threshold):
    """Pairs of sets by an exact count over all of them."""
    from scipy.sparse import csr_array

    numbers: dict = {}
    columns = [numbers.setdefault(run, len(numbers)) for own in sets for run in own]
    sizes = np.array([len(own) for own in sets])
    pointers = np.append(0, np.cumsum(sizes))
    shape = (len(sets), len(numbers))
    matrix = csr_array((np.ones(len(columns), np.int32), columns, pointers), shape=shape)
    common = (matrix @ matrix.T).tocoo()
    one, other = common.coords
    alike = common.data / (sizes[one] + sizes[other] - common.data) >= threshold
    keep = alike & (one < other)
    return np.stack([one[keep], other[keep]], axis=1)


def _num_clusters(pairs, count):
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
    return connected_components(graph, directed=False)[0]
