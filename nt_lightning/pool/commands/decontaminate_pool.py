"""``pool decontaminate``."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Benchmark


def decontaminate_pool(
    pool: str,
    output: str,
    benchmarks: list[Benchmark] | None = None,
    files: list[str] | None = None,
    column: str | None = None,
    min_coverage: float = 0.5,
    overwrite: bool = False,
) -> None:
    """Leave out the rows of a pool that quote questions of benchmarks.

    A row goes where its question, or the reasoning or answer of its trace, is a benchmark's
    question, contains one whole, or has runs of 13 words in common with one that cover enough of
    it. Case, blanks, punctuation and accents do not count, nor do instructions that a quarter of a
    benchmark's questions begin or end with. OUTPUT/decontamination/report.jsonl has every removed
    row with the quoting text, and summary.txt a table.

    Questions that others of their benchmark contain ("Which of these is true?") or under three
    words are looked for with their options, in their order and several notations; without options
    they are only compared with whole questions of the pool, and symbols alone never. These are
    listed in not_searched.jsonl.

    Args:
        pool: Folder of the questions or traces.
        output: Folder of the new pool.
        benchmarks: Benchmarks by class_path, e.g. evals.math_500.Math500.
        files: Further questions, as [a.jsonl,b.parquet]: JSONL, JSON or Parquet files, each a
            benchmark of its own.
        column: Column of the questions in the files; question, problem, Question or prompt by
            default. Options stand in a column options or choices.
        min_coverage: Share of a benchmark question's words that common runs of 13 words must
            cover, boilerplate of the benchmark left out; 0: one run is enough, which also removes
            much that only sounds alike.
        overwrite: Replace a pool that is already there.
    """
    from rich.console import Console

    from nt_lightning.pool.benchmark_questions import load_questions
    from nt_lightning.pool.decontaminate import FOLDER, Contamination, decontaminate
    from nt_lightning.pool.decontamination_report import print_summary
    from nt_lightning.pool.derived import refuse_output
    from nt_lightning.traces.pool import Pool

    source = Pool(pool, "questions")
    folder = refuse_output(output, overwrite, source)
    found = Contamination(
        load_questions(benchmarks or [], files or [], column), min_coverage, folder.parent
    )
    written = decontaminate(source, folder, found)
    print_summary(found, Console(highlight=False, markup=False))
    print(
        f"{output}: {len(written)} of {len(source)} {source.kind} kept, "
        f"{len(source) - len(written)} removed and listed in {FOLDER}/report.jsonl"
    )
