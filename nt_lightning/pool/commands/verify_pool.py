"""``pool verify``."""

from __future__ import annotations


def verify_pool(
    pool: str,
    output: str,
    workers: int | None = None,
    limit_s: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Say of each trace whether its answer is right, where that is certain.

    The answer is compared with reference_answer by the rule that fits it: letters of options,
    numbers with their units, mathematics (math-verify), short texts. Questions of reasoning-gym
    (source reasoning_gym/FAMILY) are made again from a column reasoning_gym, JSON with config and
    index, or from the embedded pool's ids, and judged by their own scorers, which need no
    reference_answer. Column correct is true, false or null; verified_by says what decided, or why
    nothing did. Verdicts that the pool has are replaced.

    Args:
        pool: Folder of the pool.
        output: Folder of the new pool.
        workers: Processes that judge at the same time; one for each core by default.
        limit_s: Seconds for one trace; what takes longer is null, by timeout.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.pool.verify import verify_traces
    from nt_lightning.traces.pool import Pool

    print(verify_traces(Pool(pool), output, workers=workers, limit_s=limit_s, overwrite=overwrite))
