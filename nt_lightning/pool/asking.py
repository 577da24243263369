"""What the commands that ask servers share: the store's place, the log, the last line."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.pool.requests.jobs import Asked
from nt_lightning.pool.requests.store import RequestStore

STORE = "requests.sqlite"
EXIT_UNFINISHED = 3


def open_store(store: str | None, output: Path) -> RequestStore:
    """The request store, by default beside a command's output; and a log with a line per fact.

    Raises:
        UserError: The store is in the output, which is replaced as a whole; or as
            ``RequestStore``.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = Path(store) if store is not None else output.resolve().parent / STORE
    places = (path.resolve(), path.parent.resolve() / path.name)  # of a link: its files go with it
    if any(place.is_relative_to(output.resolve()) for place in places):
        raise UserError(
            f"store: {store} is in the output {output}, which is replaced as a whole and the "
            "replies with it; give a file beside it"
        )
    return RequestStore(path)


class Unfinished(NamedTuple):
    """What the same command can still get, by the states of what was wanted.

    Args:
        not_asked: Neither found nor asked.
        gave_up: No reply after all attempts.
    """

    not_asked: int
    gave_up: int


def finish(told: str, asked: Asked, left_out: Counter[str], unfinished: Unfinished) -> None:
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
    if not any(unfinished):
        return
    if asked.capped:
        print(
            f"stopped at {asked.capped}: {unfinished.not_asked} not asked; "
            "with a larger cap it goes on"
        )
    elif unfinished.not_asked:
        print(f"{unfinished.not_asked} not asked; the same command goes on")
    if unfinished.gave_up:
        print(f"{unfinished.gave_up} had no reply; the same command asks them again")
    raise SystemExit(EXIT_UNFINISHED)
