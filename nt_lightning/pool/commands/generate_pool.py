"""``pool generate``."""

from __future__ import annotations

from pathlib import Path

from nt_lightning.pool.teachers import Teacher
from nt_lightning.requests.budget import Caps


def generate_pool(
    pool: str,
    output: str,
    teachers: list[Teacher],
    store: str | None = None,
    caps: Caps = Caps(),
    retry_failed: bool = False,
    overwrite: bool = False,
) -> None:
    """Ask teachers the questions of a pool and write their traces.

    Each reply goes to the request store the moment it comes, and what is in the store is never
    asked again: after Ctrl+C, a crash or a cap, the same command goes on where it was. Replies
    that were cut off or are empty stay in the store and are left out of the pool. Traces keep all
    columns of a pool of questions; of a pool of traces only reference_answer, source, domain and
    topic, since the others may be about the older trace.

    Args:
        pool: Folder of the questions, or of traces whose questions are asked again.
        output: Folder of the new pool.
        teachers: OpenAI-compatible servers and their models.
        store: File of the request store; requests.sqlite beside OUTPUT by default. On a local
            disk, not on a network's.
        caps: Caps on what this command may spend from the store, over all its runs and
            outputs.
        retry_failed: Ask again what a server has refused.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.pool.asking import Account, failed_lines, finish, open_store
    from nt_lightning.pool.derived import refuse_output
    from nt_lightning.pool.generate import PURPOSE, generate, settings_of
    from nt_lightning.pool.teachers import STATES, check_teachers
    from nt_lightning.traces.pool import Pool

    source = Pool(pool, "questions")
    check_teachers(teachers)
    caps.check({f"teachers[{place}]": teacher for place, teacher in enumerate(teachers)})
    folder = refuse_output(output, overwrite, source, settings_of(teachers), retry_failed)
    with open_store(store, folder) as requests:
        made = generate(source, Path(folder), teachers, requests, caps, retry_failed)
        notes = failed_lines(made.left_out[STATES["refused"]], made.asked.total, "requests")
        told = f"{output}: {made.num_traces} traces of {len(teachers)} teachers"
        account = Account(requests, PURPOSE, caps)
        finish(told, made.asked, made.left_out, made.unfinished, account, notes)
