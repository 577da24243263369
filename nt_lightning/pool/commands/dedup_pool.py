"""``pool dedup``."""

from __future__ import annotations


def dedup_pool(
    pool: str,
    output: str,
    threshold: float = 0.55,
    ngram: int = 2,
    overwrite: bool = False,
) -> None:
    """Leave out questions that are the same as an earlier one, or nearly.

    Candidates come from word-level MinHash; what goes has been compared word by word. Of a
    cluster of near-duplicates the first question stays, with all its traces, and the others go
    with all of theirs; in a pool of questions, further rows of the same question go too.
    OUTPUT/dedup/removed.jsonl has every removed row and the row that stays.
    An instruction inside of the questions counts as any of their words do: behind a long one,
    short questions are near-duplicates.

    Args:
        pool: Folder of the questions or traces.
        output: Folder of the new pool.
        threshold: Jaccard similarity of two questions' sets of word runs from which they are
            near-duplicates, above 0, at most 1.
        ngram: Words in a run. 1 compares sets of words, which also removes different problems in
            the same words, a quarter of MATH's training set.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.pool.dedup import FOLDER, LISTED, dedup
    from nt_lightning.pool.derived import refuse_output
    from nt_lightning.traces.pool import Pool

    source = Pool(pool, "questions")
    folder = refuse_output(output, overwrite, source)
    done = dedup(source, folder, threshold, ngram)
    kept = f"{len(done.pool)} of {len(source)} {source.kind}"
    if source.kind == "traces":
        stay = done.questions_in - done.questions_removed
        kept += f", {stay} of {done.questions_in} questions"
    print(f"{output}: {kept} kept; the others are listed in {FOLDER}/{LISTED}")
