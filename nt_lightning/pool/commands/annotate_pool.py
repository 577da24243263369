"""``pool annotate``."""

from __future__ import annotations

from typing import Literal

from nt_lightning.pool.annotators import ASPECTS, Annotator, Prompts
from nt_lightning.requests.budget import Caps


def annotate_pool(
    pool: str,
    output: str,
    annotator: Annotator,
    aspects: list[Literal["topic", "strategies", "verbosity"]] | None = None,
    prompts: Prompts = Prompts(),
    store: str | None = None,
    caps: Caps = Caps(),
    retry_failed: bool = False,
    overwrite: bool = False,
) -> None:
    """Annotate a pool's traces by a model: domain and topic, strategies and steps, verbosity.

    Replies are JSON that fits a schema; one that does not is asked for once more, and then the
    annotation is null and listed in OUTPUT/annotation/failed.jsonl. Every reply goes to the
    request store, and nothing is asked twice, but what has failed with --retry_failed true.

    Args:
        pool: Folder of the traces.
        output: Folder of the new pool.
        annotator: An OpenAI-compatible server and its model.
        aspects: What is asked, all by default; columns of the others stay as they are.
        prompts: In which words, with which domains and strategies.
        store: File of the request store; requests.sqlite beside OUTPUT by default. On a local
            disk, not on a network's.
        caps: Caps on what this command may spend from the store, over all its runs and
            outputs.
        retry_failed: Ask again what has failed, for one further try.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.errors import UserError
    from nt_lightning.pool.annotate import PURPOSE, annotate
    from nt_lightning.pool.annotators import settings_of
    from nt_lightning.pool.asking import Account, finish, open_store
    from nt_lightning.pool.derived import refuse_output
    from nt_lightning.traces.pool import Pool

    wanted = list(ASPECTS) if aspects is None else aspects
    if not wanted or len(set(wanted)) < len(wanted):
        raise UserError(f"aspects is {aspects}; allowed: one or more of {', '.join(ASPECTS)}")
    source = Pool(pool)
    annotator.check("annotator")
    caps.check({"annotator": annotator})
    settings = settings_of(annotator, prompts, wanted)
    folder = refuse_output(output, overwrite, source, settings, retry_failed)
    with open_store(store, folder) as requests:
        made = annotate(source, folder, annotator, prompts, wanted, requests, caps, retry_failed)
        counts = [f"{a} {made.annotated[a]} of {made.wanted[a]}" for a in wanted]
        told = f"{output}: {', '.join(counts)} annotated"
        account = Account(requests, PURPOSE, caps)
        finish(told, made.asked, made.failed, made.unfinished, account, made.notes())
