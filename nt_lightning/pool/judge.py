"""Whether two teachers' answers agree: by rules where these decide, else by a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from nt_lightning.evaluation.equality.verdict import Verdict
from nt_lightning.pool.agreement import OWN, SCHEMA, Agreement
from nt_lightning.pool.annotators import Annotator, Prompts
from nt_lightning.pool.asking import Account, Unfinished, failed_lines
from nt_lightning.pool.derived import write_derived
from nt_lightning.pool.seconds import seconds_of
from nt_lightning.pool.verification.crew import Crew
from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps, Spent
from nt_lightning.requests.jobs import Asked
from nt_lightning.requests.store import RequestStore
from nt_lightning.traces.pool import Pool

PURPOSE = "judge"


def settings_of(second: str | None, judge: Annotator | None, prompts: Prompts) -> dict[str, Any]:
    """What decides about the verdicts on a pool."""
    return {
        "command": "pool judge",
        "second": second,
        "judge": judge.about() if judge else None,
        "prompt": prompts.digest("judge", SCHEMA),
    }


class Judged(NamedTuple):
    """What a run has found.

    Args:
        asked: What became of the requests; nothing was asked without a judge.
        failed: Pairs whose reply is of no use.
        verdicts: How many traces agree (``True``), disagree or are undecided, by what decided.
        unfinished: Verdicts that the same command can still get.
    """

    asked: Asked
    failed: int
    verdicts: Counter[Verdict]
    unfinished: Unfinished

    def lines(self) -> list[str]:
        """A line for each verdict."""
        told = {True: "agree", False: "disagree", None: "undecided"}
        return [
            f"  {count:>8,} {'not compared' if one.by == OWN else told[one.correct]} ({one.by})"
            for one, count in self.verdicts.most_common()
        ]

    def sums(self) -> str:
        """How many are undecided, and apart from them the second teacher's own traces."""
        own = sum(count for one, count in self.verdicts.items() if one.by == OWN)
        unknown = sum(count for one, count in self.verdicts.items() if one.correct is None) - own
        return (
            f"{own} of them the second teacher's own, {unknown} undecided"
            if own
            else (f"{unknown} of them undecided")
        )

    def notes(self) -> list[str]:
        """What has failed."""
        return failed_lines(self.failed, max(self.asked.total // 2, self.failed), "judgements")


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
    retry_failed: bool = False,
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
        caps: What may be spent.
        workers: Processes of the rules.
        limit_s: Seconds for one comparison.
        retry_failed: Ask again what the judge's replies did not say.

    Raises:
        UserError: There is no second answer at all, or no request will do.
    """
    run = Agreement(pool, seconds_of(pool, second, second_pool), judge, prompts, store)
    with Crew(workers, limit_s) as crew:
        run.by_rules(crew)
    asked = Asked(0, 0, 0, 0, 0, 0, Spent(), None)
    if judge is not None and (job := run.job(judge, retry_failed)).total:
        asked = ask([job], store, PURPOSE, caps)
    account = Account(store, PURPOSE, caps)
    write_derived(
        pool,
        run.tables(),
        output,
        settings_of(second, judge, prompts),
        lambda: {
            "verdicts": {f"{v.correct}: {v.by}": n for v, n in run.counts.most_common()},
            "unfinished": sum(run.unfinished()),
            **account.lineage(asked),
        },
        extras=run.report,
    )
    return Judged(asked, run.failed(), run.counts, run.unfinished())
