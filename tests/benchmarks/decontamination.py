"""python -m tests.benchmarks.decontamination [--questions 1100000] [--sides decontaminate ...]

``pool decontaminate`` and ``pool dedup`` on a pool of questions, and MinHash packages for the
latter: CPU-seconds, wall time, peak memory. Each side runs once in a fresh process.

``decontaminate`` holds the pool against GSM8K test, MATH-500, MMLU and MMLU-Pro. ``dedup`` reads
texts whose words follow each other as in real questions, so that it meets as many look-alikes as
among these; ``dedup-recombined`` repeated sentences; ``dedup-instructed`` the former behind one
instruction of 33 words (100,000 are enough). The packages (``rensa``;
``datasketch`` comes with ``pip install datasketch``) find pairs among 20,000 questions, half of
them edited copies of the others; recall and precision are against a count over all pairs. It needs
the real data beside the checkout.

Why rensa: a seventh of datasketch's CPU-seconds for the same pairs, and 22 MB where datasketch's
index takes 369, which would be 20 GB for 1.1 million questions.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from nt_lightning.traces.pool import Pool, write_pool
from tests.benchmarks.protocol import Meter, Result, fresh_process, report
from tests.integration.test_decontaminate_real import gsm8k, math_train, mmlu, mmlu_pro

NAME = "tests.benchmarks.decontamination"
THRESHOLD = 0.55
RUN = 2
COMPARED = 20_000  # questions for recall: all pairs are counted
MEAN_WORDS = 60
INSTRUCTION = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)  # of DAPO's training set
Pairs = set[tuple[int, int]]


def recombined(texts: Sequence[str], count: int) -> Iterator[str]:
    """Questions of real sentences drawn at random, about 60 words long."""
    rng = np.random.default_rng(0)
    sentences = [one for text in texts for one in re.split(r"(?<=[.?!])\s+", text) if one]
    sizes = np.array([len(one.split()) for one in sentences])
    for _ in range(0, count, 10_000):
        wanted = rng.lognormal(np.log(MEAN_WORDS) - 0.3, 0.6, 10_000)
        picks = rng.integers(0, len(sentences), (10_000, 40))
        numbers = (np.cumsum(sizes[picks], axis=1) < wanted[:, None]).sum(axis=1) + 1
        for row, number in zip(picks.tolist(), numbers.tolist(), strict=True):
            yield " ".join(sentences[pick] for pick in row[:number])


def chained(texts: Sequence[str], count: int) -> Iterator[str]:
    """Questions in which each word follows the one before as somewhere in a real question."""
    rng = np.random.default_rng(0)
    numbers: dict[str, int] = {"": 0}  # between two questions
    stream = [0]
    for text in texts:
        stream += [numbers.setdefault(word, len(numbers)) for word in text.split()]
        stream.append(0)
    words, ids = list(numbers), np.array(stream)
    order = np.argsort(ids[:-1], kind="stable")
    after, starts = ids[1:][order], np.searchsorted(ids[:-1][order], np.arange(len(words) + 1))
    for _ in range(0, count, 10_000):
        lengths = rng.lognormal(np.log(MEAN_WORDS) - 0.18, 0.6, 10_000).clip(5, 400).astype(int)
        chain = np.zeros((lengths.max() + 1, 10_000), dtype=np.int64)
        for step in range(1, len(chain)):
            first, last = starts[chain[step - 1]], starts[chain[step - 1] + 1]
            chain[step] = after[first + (rng.random(10_000) * (last - first)).astype(np.int64)]
        for column, length in zip(chain.T.tolist(), lengths.tolist(), strict=True):
            yield " ".join(words[number] for number in column[: length + 1] if number)


def instructed(texts: Sequence[str], count: int) -> Iterator[str]:
    """Chained questions behind one instruction."""
    return (f"{INSTRUCTION}\n\n{text}" for text in chained(texts, count))


MAKERS: dict[str, Callable[[Sequence[str], int], Iterator[str]]] = {
    "decontaminate": recombined,
    "dedup": chained,
    "dedup-recombined": recombined,
    "dedup-instructed": instructed,
    "rensa": chained,
    "datasketch": chained,
}
SIDES = list(MAKERS)


def make_pool(side: str, count: int, folder: Path) -> Path:
    """A pool of that many questions; pools are made once."""
    made = folder / f"{MAKERS[side].__name__}-{count}"
    if not made.exists():
        texts = MAKERS[side]([*gsm8k("train"), *math_train()], count)

        def tables() -> Iterator[pa.Table]:
            for first in range(0, count, 50_000):
                part = list(islice(texts, min(50_000, count - first)))
                ids = [f"q{number}" for number in range(first, first + len(part))]
                yield pa.table({"id": ids, "question": part})

        write_pool(tables(), made, {"made_by": NAME}, kind="questions")
    return made


def run_decontaminate(pool: Path, output: Path) -> Result:
    """The command's own work, benchmarks read before."""
    from nt_lightning.pool.benchmark_questions import load_questions
    from nt_lightning.pool.decontaminate import Contamination, decontaminate
    from tests.integration.real_data import real_file

    files = [real_file("gsm8k", "test.jsonl"), real_file("benchmarks", "math500_test.jsonl")]
    benchmarks = [*load_questions([], list(map(str, files))), mmlu(), mmlu_pro()]
    with Meter() as meter:
        found = Contamination(benchmarks, 0.5)
        decontaminate(Pool(pool, "questions"), output, found)
    asked = sum(len(one.ids) for one in benchmarks)
    return meter.result(benchmark_questions=asked, removed=len(found.lines))


def run_dedup(pool: Path, output: Path) -> Result:
    """The command's own work."""
    from nt_lightning.pool.dedup import dedup

    with Meter() as meter:
        done = dedup(Pool(pool, "questions"), output, THRESHOLD, RUN)
    return meter.result(removed=done.questions_removed)


def run_package(side: str, pool: Path) -> Result:
    """Pairs of look-alikes among near-duplicates planted into the pool's first questions."""
    from nt_lightning.pool.overlap.near_duplicates import jaccard, sets_of_runs

    texts = planted(Pool(pool, "questions").read()["question"].to_pylist()[: COMPARED // 2])
    sets = sets_of_runs(texts, RUN)
    with Meter() as meter:
        pairs = (rensa_pairs if side == "rensa" else datasketch_pairs)(texts, sets)
    wanted = exact_pairs(sets)
    alike = {pair for pair in pairs if jaccard(sets[pair[0]], sets[pair[1]]) >= THRESHOLD}
    return meter.result(
        exact_pairs=len(wanted),
        candidates=len(pairs),
        recall=len(alike & wanted) / len(wanted),
        precision=len(alike) / max(len(pairs), 1),
    )


def planted(texts: Sequence[str]) -> list[str]:
    """Each text and a copy in which a share of the words, up to 40 %, is from elsewhere."""
    rng = np.random.default_rng(1)
    words = " ".join(texts).split()
    both = []
    for text in texts:
        own = text.split()
        swapped = rng.random(len(own)) < rng.uniform(0, 0.4)
        other = rng.integers(0, len(words), len(own))
        copy = [words[o] if s else w for w, s, o in zip(own, swapped, other, strict=True)]
        both += [text, " ".join(copy)]
    return both


def rensa_pairs(texts: Sequence[str], sets: Sequence[set]) -> Pairs:
    """Pairs of our search: rensa's signatures, our bands, similarity counted by hashes."""
    from nt_lightning.pool.overlap.near_duplicates import Sketches, choose_bands

    sketches = Sketches(RUN, choose_bands(THRESHOLD))
    for start in range(0, len(texts), 2000):
        sketches.add(texts[start : start + 2000])
    return {(one, other) for one, other in sketches.similar_pairs(THRESHOLD).tolist()}


def datasketch_pairs(texts: Sequence[str], sets: Sequence[set]) -> Pairs:
    """Candidate pairs of datasketch's index with the same bands."""
    from datasketch import MinHash, MinHashLSH

    from nt_lightning.pool.overlap.near_duplicates import NUM_HASHES, choose_bands

    index = MinHashLSH(num_perm=NUM_HASHES, params=tuple(choose_bands(THRESHOLD)))
    pairs = set()
    tokens = ([" ".join(run).encode() for run in own] for own in sets)
    for number, sketch in enumerate(MinHash.generator(tokens, num_perm=NUM_HASHES)):
        pairs |= {(other, number) for other in index.query(sketch)}
        index.insert(number, sketch)
    return pairs


def exact_pairs(sets: Sequence[set]) -> Pairs:
    """All pairs that are alike, counted over all pairs."""
    from tests.integration.test_decontaminate_real import all_similar_pairs

    return {(one, other) for one, other in all_similar_pairs(sets, THRESHOLD).tolist()}


def main() -> None:
    """Measure one side, or each in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--side", choices=SIDES, help="measure this side alone, in this process")
    parser.add_argument("--pools", type=Path, help="folder for the pools, which are kept")
    args = parser.parse_args()
    folder = args.pools or Path(tempfile.mkdtemp())
    if args.side:
        pool = folder / f"{MAKERS[args.side].__name__}-{args.questions}"
        with tempfile.TemporaryDirectory() as output:
            if args.side in ("rensa", "datasketch"):
                result = run_package(args.side, pool)
            else:
                run = run_decontaminate if args.side == "decontaminate" else run_dedup
                result = run(pool, Path(output) / "out")
        print(json.dumps(result))
        return
    rows: list[tuple[str, object]] = []
    for side in args.sides:
        make_pool(side, args.questions, folder)
        result = fresh_process(
            NAME, side, {"questions": args.questions, "pools": folder.resolve()}, 2
        )
        print(f"  {side}: {result}", file=sys.stderr)
        rows += [(f"{side}, {key}", value) for key, value in result.items()]
    report("decontamination and dedup", {"questions": args.questions, "threads": 2}, rows)


if __name__ == "__main__":
    main()
