"""The loop that asks: workers for every server, each with a request at a time, to its end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nt_lightning.errors import UserError
from nt_lightning.pool.requests.attempt import Attempt, attempt
from nt_lightning.pool.requests.budget import Budget, Caps, Spent
from nt_lightning.pool.requests.endpoint import Endpoint
from nt_lightning.pool.requests.jobs import Asked, Job, Lane, open_lane
from nt_lightning.pool.requests.progress import Progress
from nt_lightning.pool.requests.request import Request
from nt_lightning.pool.requests.store import Event, RequestStore, State

MAX_ATTEMPTS = 6  # that failed or were lost; then the request is given up
PATIENCE_S = 900.0  # how long a request is put off by 429 and 503 before it is given up
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
IN_A_ROW = 20  # so many refused or given up, none replied between: it is no single request's fault
FEW = 3  # the same while no reply has come at all


@dataclass
class Runner:
    """One run of requests.

    Args:
        jobs: Requests by server.
        store: Gets every reply, and every failed attempt.
        purpose: The command.
        caps: Hard caps.
    """

    jobs: Sequence[Job]
    store: RequestStore
    purpose: str
    caps: Caps
    counts: Counter[str] = field(default_factory=Counter)
    capped: str | None = None
    error: UserError | None = None

    def __post_init__(self) -> None:
        self.caps.check()
        for job in self.jobs:
            job.endpoint.check(job.name)
        self.before = self.store.spent(self.purpose)
        self.budget = Budget(self.caps, self.before)
        self.under_way: set[bytes] = set()

    def asked(self) -> Asked:
        """The counts of the run."""
        done = {name: self.counts[name] for name in ("found", "replied", "refused", "gave_up")}
        total = sum(job.total for job in self.jobs)
        spent = self.budget.spent.plus(self.before, -1)
        not_asked = total - sum(done.values()) - self.counts["repeated"]
        return Asked(total, **done, not_asked=not_asked, spent=spent, capped=self.capped)

    async def run(self) -> None:
        """Ask all jobs at the same time."""
        self.loop = asyncio.get_running_loop()
        self.stopping, self.freed = asyncio.Event(), asyncio.Event()
        progress = Progress(sum(job.total for job in self.jobs))
        async with contextlib.AsyncExitStack() as stack:
            lanes: list[Lane] = [
                await stack.enter_async_context(open_lane(job)) for job in self.jobs
            ]
            reporting = asyncio.create_task(progress.follow(self, lanes))
            try:
                async with asyncio.TaskGroup() as group:
                    for lane in lanes:
                        for _ in range(min(lane.job.endpoint.concurrency, max(lane.job.total, 1))):
                            group.create_task(self._work(lane))
            finally:
                reporting.cancel()
                progress.close(self, lanes)
        if self.error is not None:
            raise self.error

    async def _work(self, lane: Lane) -> None:
        """One of a lane's workers: a request at a time, to its end."""
        for request in lane.waiting:
            if self.stopping.is_set():
                return
            if request.key in self.under_way:  # the same question twice
                self.counts["repeated"] += 1
            elif self.store.is_final(request.key):
                self.counts["found"] += 1
                if self.counts["found"] % 100 == 0:
                    await asyncio.sleep(0)  # replies that come in meanwhile want to be seen
            else:
                self.under_way.add(request.key)
                try:
                    await self._see_to(lane, request)
                finally:
                    self.under_way.discard(request.key)

    async def _see_to(self, lane: Lane, request: Request) -> None:
        endpoint = lane.job.endpoint
        prompt, reply = request.max_prompt_tokens, request.max_completion_tokens
        worst = Spent(1, prompt + reply, endpoint.cost(prompt, reply))
        failures, until = 0, time.monotonic() + PATIENCE_S
        while await self._hold(worst):
            async with lane.pace.slot():
                if self.stopping.is_set():
                    self._settle(worst, Spent())
                    return
                found = await attempt(lane.session, endpoint, request)
            if found.kind == "replied":
                lane.pace.replied(found.seconds)
            elif found.kind in ("throttled", "lost"):
                lane.pace.troubled()
            spent = _spent(found, endpoint, worst)
            failures += found.kind in ("failed", "lost")
            gave_up = failures >= MAX_ATTEMPTS or time.monotonic() > until
            await self._record(lane, request, found, spent, gave_up)
            self._settle(worst, spent)
            if gave_up or found.kind in ("replied", "refused"):
                return
            await self._pause(max(found.wait_s, _backoff(failures)))
            if self.stopping.is_set():
                return

    async def _record(
        self, lane: Lane, request: Request, found: Attempt, spent: Spent, gave_up: bool
    ) -> None:
        """Write down what became of an attempt; ends wait for the disk."""
        lane.last_error = found.error or lane.last_error
        if found.kind == "hopeless":
            self._fail(f"{lane.job.name}: {lane.job.endpoint.url}: {found.error}")
        state: State = "gave_up" if gave_up else "fault"
        if found.kind == "replied" or found.kind == "refused":
            state = found.kind
        await self._write(
            Event(request.key, self.purpose, state, found.status, spent, found.error, found.body)
        )
        if state == "fault":
            return
        self.counts[state] += 1
        lane.replied += state == "replied"
        lane.in_a_row = 0 if state == "replied" else lane.in_a_row + 1
        if lane.in_a_row >= (IN_A_ROW if lane.replied else min(FEW, lane.job.total)):
            self._fail(
                f"{lane.job.name}: {lane.job.endpoint.url}: {lane.in_a_row} requests in a row "
                f"had no reply, so the command stops; the last one: {lane.last_error}"
            )

    async def _write(self, event: Event) -> None:
        """Append an event and wait for the disk."""
        written = self.loop.create_future()

        def done(problem: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone after a second Ctrl+C
                self.loop.call_soon_threadsafe(_resolve, written, problem)

        self.store.append(event, done)
        if problem := await written:
            self._fail(f"store: {self.store.path} cannot be written: {problem}")

    async def _hold(self, worst: Spent) -> bool:
        """Set a request aside, when there is room for it; false if there never will be."""
        while not self.stopping.is_set():
            if self.budget.hold(worst):
                return True
            if not self.budget.held.requests:
                self.capped = str(self.caps)
                self.stop()
                return False
            self.freed.clear()
            await self.freed.wait()
        return False

    def _settle(self, worst: Spent, actual: Spent) -> None:
        self.budget.settle(worst, actual)
        self.freed.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def _fail(self, message: str) -> None:
        """Stop for an error; what is under way may be paid and is waited for."""
        self.error = self.error or UserError(message)
        self.stop()

    def stop(self) -> None:
        """Send no more; what is under way goes on to its end."""
        self.stopping.set()
        self.freed.set()


def _spent(found: Attempt, endpoint: Endpoint, worst: Spent) -> Spent:
    """What an attempt cost: by the server's count, else at its worst if a reply may be paid."""
    if found.kind == "lost":
        return worst
    if found.reply is None:
        return Spent(1)
    prompt, reply = found.reply.prompt_tokens, found.reply.completion_tokens
    if prompt is None or reply is None:
        return worst
    return Spent(1, prompt + reply, endpoint.cost(prompt, reply))


def _backoff(failures: int) -> float:
    """Seconds before the next attempt, anywhere up to a bound that doubles (full jitter)."""
    return random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**failures))


def _resolve(future: asyncio.Future[Exception | None], problem: Exception | None) -> None:
    if not future.done():
        future.set_result(problem)
