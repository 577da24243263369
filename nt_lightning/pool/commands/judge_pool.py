"""``pool judge``."""

from __future__ import annotations

from nt_lightning.pool.annotators import Annotator, Prompts
from nt_lightning.requests.budget import Caps


def judge_pool(
    pool: str,
    output: str,
    second: str | None = None,
    second_pool: str | None = None,
    judge: Annotator | None = None,
    prompts: Prompts = Prompts(),
    store: str | None = None,
    caps: Caps = Caps(),
    retry_failed: bool = False,
    workers: int | None = None,
    limit_s: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Say of every trace whether a second teacher gives the same answer (models_agree).

    Rules come first (math-verify, numbers, letters, equal texts); what they cannot decide goes to
    a judge model, where one is given, and is null otherwise. The judge sees each pair in both
    orders; where its verdicts differ there is none. agreed_by says what decided.

    Args:
        pool: Folder of the traces.
        output: Folder of the new pool.
        second: The second teacher by its name; without it, the columns second_teacher and
            second_answer of the pool. Its own traces have no verdict.
        second_pool: Folder of the second teacher's traces, if they are not in the pool.
        judge: An OpenAI-compatible server and its model.
        prompts: In which words it is asked.
        store: File of the request store; requests.sqlite beside OUTPUT by default. On a local
            disk, not on a network's.
        caps: Caps on what this command may spend from the store, over all its runs and
            outputs.
        retry_failed: Ask again where the judge's replies were of no use.
        workers: Processes that compare; one for each core by default.
        limit_s: Seconds for one comparison.
        overwrite: Replace a pool that is already there.
    """
    from collections import Counter

    from nt_lightning.pool.asking import Account, finish, open_store
    from nt_lightning.pool.derived import refuse_output
    from nt_lightning.pool.judge import PURPOSE, judge_pool_answers, settings_of
    from nt_lightning.traces.pool import Pool

    num_workers = _checked(workers, limit_s)
    source = Pool(pool)
    if judge is not None:
        judge.check("judge")
        caps.check({"judge": judge})
    settings = settings_of(second, judge, prompts)
    folder = refuse_output(output, overwrite, source, settings, retry_failed)
    with open_store(store, folder) as requests:
        found = judge_pool_answers(
            source,
            folder,
            second=second,
            second_pool=Pool(second_pool) if second_pool else None,
            judge=judge,
            prompts=prompts,
            store=requests,
            caps=caps,
            workers=num_workers,
            limit_s=limit_s,
            retry_failed=retry_failed,
        )
        for line in found.lines():
            print(line)
        told = f"{output}: {len(source)} traces, {found.sums()}"
        account = Account(requests, PURPOSE, caps)
        finish(told, found.asked, Counter(), found.unfinished, account, found.notes())


def _checked(workers: int | None, limit_s: float) -> int:
    """How many processes compare; a UserError where an option is out of its range."""
    import os

    from nt_lightning.errors import UserError

    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; allowed: 1 and more")
    if not limit_s > 0:
        raise UserError(f"limit_s is {limit_s}; allowed: more than 0")
    return workers or len(os.sched_getaffinity(0))
