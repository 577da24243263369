"""What the commands that ask servers share: the store's place, the log, the last line."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.requests.budget import Caps, Spent
from nt_lightning.requests.jobs import Asked
from nt_lightning.requests.store import RequestStore

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


def stopped(asked: Asked, not_asked: int) -> str:
    """Which cap has stopped a run, and what is missing.

    Args:
        asked: What became of the requests.
        not_asked: How many the store has nothing of.
    """
    room = f"{asked.room}; " if asked.room else ""
    return f"stopped at {asked.capped}: {not_asked} not asked; {room}with a larger cap it goes on"


def failed_lines(failed: int, total: int, what: str) -> list[str]:
    """Lines that say how many replies are of no use for good, and how they are asked again.

    Args:
        failed: How many.
        total: Of how many.
        what: They are, for the message.
    """
    if not failed:
        return []
    lines = [f"{failed} of {total} {what} failed; --retry_failed true asks them again"]
    if 2 * failed > total:
        lines.append(f"warning: more than half of the {what} failed")
    return lines


def _cost(sure: Spent, unsure: Spent) -> str:
    """``744 tokens, up to 34,786 more for 2 lost requests``."""
    said = f"{sure.tokens:,} tokens"
    if unsure.requests:
        said += f", up to {unsure.tokens:,} more for {unsure.requests:,} lost requests"
    if sure.usd or unsure.usd:
        said += f", {sure.usd:.2f} USD"
        said += f" and up to {unsure.usd:.2f} more" if unsure.usd else ""
    return said


class Unfinished(NamedTuple):
    """What the same command can still get, by the states of what was wanted.

    Args:
        not_asked: Neither found nor asked.
        gave_up: No reply after all attempts.
    """

    not_asked: int
    gave_up: int


class Account(NamedTuple):
    """Whose spending a command counts.

    Args:
        store: The request store.
        purpose: The command.
        caps: Its caps.
    """

    store: RequestStore
    purpose: str
    caps: Caps

    def lineage(self, asked: Asked) -> dict[str, Any]:
        """What this run has spent, and what all requests behind the new pool have cost in all.

        ``spent_in_all`` is of the requests that the pool was made of, whichever run sent them.
        """
        told = {"spent": asked.sure, "perhaps_spent": asked.unsure}
        told["spent_in_all"] = self.store.cost()
        return {name: spent._asdict() for name, spent in told.items()}

    def line(self) -> str:
        """What counts toward the caps: of all runs and outputs that share the store."""
        lost = self.store.unsure(self.purpose)
        spent = self.store.spent(self.purpose).plus(lost._replace(requests=0), -1)
        return (
            f"spent so far in {self.store.path}, by pool {self.purpose} for all outputs: "
            f"{spent.requests:,} requests, {_cost(spent, lost)}"
        )


def finish(
    told: str,
    asked: Asked,
    left_out: Counter[str],
    unfinished: Unfinished,
    account: Account,
    notes: Sequence[str] = (),
) -> None:
    """Print the last lines; requests without an end make the exit status 3.

    Args:
        told: What has been written; may be empty.
        asked: What became of the requests.
        left_out: Replies that were of no use, by reason.
        unfinished: What the same command can still get.
        account: Whose spending counts.
        notes: Further lines.

    Raises:
        SystemExit: Some requests were not asked, or given up.
    """
    busy = f" ({asked.throttled:,} answered 429 or 503)" if asked.throttled else ""
    used = f"{asked.spent.requests} requests{busy}, {asked.found} found in the store"
    print("; ".join(part for part in (told, used, _cost(asked.sure, asked.unsure)) if part))
    for reason, count in left_out.most_common():
        print(f"  left out: {count} {reason}")
    for note in notes:
        print(note)
    if account.caps.are_given:
        print(account.line())
    if not any(unfinished):
        return
    if asked.capped:
        print(stopped(asked, unfinished.not_asked))
    elif unfinished.not_asked:
        print(f"{unfinished.not_asked} not asked; the same command goes on")
    if unfinished.gave_up:
        print(f"{unfinished.gave_up} had no reply; the same command asks them again")
    raise SystemExit(EXIT_UNFINISHED)
