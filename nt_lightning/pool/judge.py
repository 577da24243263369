"""Whether two teachers' answers agree: by rules where these decide, else by a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from nt_lightning.files import digest
from nt_lightning.pool.agreement import SCHEMA, Agreement, seconds_of
from nt_lightning.pool.annotators import Annotator, Prompts
from nt_lightning.pool.asking import Unfinished
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.requests.ask import ask
from nt_lightning.pool.requests.budget import Caps, Spent
from nt_lightning.pool.requests.jobs import Asked
from nt_lightning.pool.requests.store import RequestStore
from nt_lightning.pool.verification.crew import Crew
from nt_lightning.pool.verification.verdict import Verdict
from nt_lightning.traces.pool import Pool

PURPOSE = "judge"


class Judged(NamedTuple):
    """What a run has found.

    Args:
        asked: What became of the requests; nothing was asked without a judge.
        verdicts: How many traces agree (``True``), disagree or are undecided, by what decided.
        unfinished: Verdicts that the same command can still get.
    """

    asked: Asked
    verdicts: Counter[Verdict]
    unfinished: Unfinished


def judge_pool_answers(
    pool: Pool,
    output: Path,
    *,
    second: str | None,
    second_pool: Pool | None,
    judge: Annotator | None,
    prompts: Prompts,
    store: RequestStore,
    caps: Caps,
    workers: int,
    limit_s: float,
) -> Judged:
    """Compare every trace's answer with the second teacher's and write the pool with verdicts.

    The rules are those of ``pool verify``, with the second answer in the reference's place; a
    judge model is asked where they decide nothing. NaturalThoughts asks a model every time; that
    rules come first is our choice, since they cost nothing and do not err where they speak. So is
    that a judge sees each pair in both orders, and that there is no verdict where it says one
    thing in one order and another in the other (position bias): the paper says nothing of it.

    Args:
        pool: Traces.
        output: Folder of the new pool; ``judge/undecided.jsonl`` lists what nobody could decide.
        second: The second teacher; ``None`` takes the columns ``second_teacher`` and
            ``second_answer`` that the pool has.
        second_pool: Where the second teacher's traces are; the pool itself by default.
        judge: A checked model; ``None``: rules alone.
        prompts: In which words it is asked.
        store: Keeps every reply.
        caps: Hard caps.
        workers: Processes of the rules.
        limit_s: Seconds for one comparison.

    Raises:
        UserError: There is no second answer at all, or no request will do.
    """
    run = Agreement(pool, seconds_of(pool, second, second_pool), judge, prompts, store)
    with Crew(workers, limit_s) as crew:
        run.by_rules(crew)
    asked = Asked(0, 0, 0, 0, 0, 0, Spent(), None)
    if judge is not None and (job := run.job(judge)).total:
        asked = ask([job], store, PURPOSE, caps)
    settings = {
        "second": second,
        "judge": judge.about() if judge else None,
        "prompt": prompts.digest("judge", SCHEMA),
    }
    write_derived(
        pool,
        run.tables(),
        output,
        lambda: {
            "command": "pool judge",
            **settings,
            "config_digest": digest(settings),
            "verdicts": {f"{v.correct}: {v.by}": n for v, n in run.counts.most_common()},
            "unfinished": sum(run.unfinished()),
            "spent": asked.spent._asdict(),
        },
        extras=run.report,
    )
    return Judged(asked, run.counts, run.unfinished())
