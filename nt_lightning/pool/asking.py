"""What the commands that ask servers share: the store's place, the log, the last line."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from nt_lightning.pool.requests.jobs import Asked
from nt_lightning.pool.requests.store import RequestStore

STORE = "requests.sqlite"
EXIT_UNFINISHED = 3


def open_store(store: str | None, output: Path) -> RequestStore:
    """The request store, by default beside a command's output; and a log with a line per fact."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return RequestStore(store if store is not None else output.resolve().parent / STORE)


def finish(told: str, asked: Asked, left_out: Counter[str], unfinished: int) -> None:
    """Print the last line; requests without an end make the exit status 3.

    Args:
        told: What has been written.
        asked: What became of the requests.
        left_out: Replies that were of no use, by reason.
        unfinished: What the same command can still get.

    Raises:
        SystemExit: Some requests were not asked, or given up.
    """
    used = f"{asked.replied} requests, {asked.found} found in the store"
    money = f", {asked.spent.usd:.2f} USD" if asked.spent.usd else ""
    print(f"{told}; {used}; {asked.spent.tokens:,} tokens{money}")
    for reason, count in left_out.most_common():
        print(f"  left out: {count} {reason}")
    if not unfinished:
        return
    if asked.capped:
        print(f"stopped at {asked.capped}: {unfinished} not asked; with a larger cap it goes on")
    else:
        print(f"{unfinished} had no reply; the same command asks them again")
    raise SystemExit(EXIT_UNFINISHED)
