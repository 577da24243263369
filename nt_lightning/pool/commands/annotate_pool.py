"""``pool annotate``."""

from __future__ import annotations

from typing import Literal

from nt_lightning.pool.annotators import ASPECTS, Annotator, Prompts
from nt_lightning.pool.requests.budget import Caps


def annotate_pool(
    pool: str,
    output: str,
    annotator: Annotator,
    aspects: list[Literal["topic", "strategies", "verbosity"]] | None = None,
    prompts: Prompts = Prompts(),
    store: str | None = None,
    caps: Caps = Caps(),
    overwrite: bool = False,
) -> None:
    """Annotate a pool's traces by a model: domain and topic, strategies and steps, verbosity.

    Replies are JSON that fits a schema; one that does not is asked for once more, and then the
    annotation is null and listed in OUTPUT/annotation/failed.jsonl. Every reply goes to the
    request store, and nothing is asked twice.

    Args:
        pool: Folder of the traces.
        output: Folder of the new pool.
        annotator: An OpenAI-compatible server and its model.
        aspects: What is asked, all by default; columns of the others stay as they are.
        prompts: In which words, with which domains and strategies.
        store: File of the request store; requests.sqlite beside OUTPUT by default. On a local
            disk, not on a network's.
        caps: Hard caps on what this command may spend from the store, over all its runs.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.errors import UserError
    from nt_lightning.pool.annotate import annotate
    from nt_lightning.pool.asking import finish, open_store
    from nt_lightning.pool.derived import refuse_output
    from nt_lightning.traces.pool import Pool

    wanted = list(ASPECTS) if aspects is None else aspects
    if not wanted or len(set(wanted)) < len(wanted):
        raise UserError(f"aspects is {aspects}; allowed: one or more of {', '.join(ASPECTS)}")
    source = Pool(pool)
    folder = refuse_output(output, overwrite, source)
    annotator.check("annotator")
    with open_store(store, folder) as requests:
        made = annotate(source, folder, annotator, prompts, wanted, requests, caps)
    print(f"{output}: {made.num_annotated} of {len(source)} traces annotated")
    if made.unknown:
        listed = ", ".join(f"{name} {count}" for name, count in made.unknown.most_common(10))
        print(f"  strategies out of the vocabulary, kept: {listed}")
    finish("annotations", made.asked, made.failed, made.unfinished)
