"""The loop that asks: workers for every server, each with a request at a time, to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nt_lightning.errors import UserError
from nt_lightning.requests.attempt import Attempt, Kind, attempt
from nt_lightning.requests.budget import Budget, Caps, Spent
from nt_lightning.requests.jobs import Asked, Job, Lane, open_lane
from nt_lightning.requests.progress import Progress
from nt_lightning.requests.request import Request
from nt_lightning.requests.store import RequestStore
from nt_lightning.requests.tries import Tries
from nt_lightning.requests.writer import Event, State


@dataclass
class Runner:
    """One run of requests.

    Args:
        jobs: Requests by server.
        store: Gets every reply, and every failed attempt.
        purpose: The command.
        caps: What may be spent.
    """

    jobs: Sequence[Job]
    store: RequestStore
    purpose: str
    caps: Caps
    counts: Counter[str] = field(default_factory=Counter)
    capped: str | None = None
    room: str = ""
    error: Exception | None = None

    def __post_init__(self) -> None:
        for job in self.jobs:
            job.endpoint.check(job.name)
        self.caps.check({job.name: job.endpoint for job in self.jobs})
        self.before = self.store.spent(self.purpose)
        self.budget = Budget(self.caps, self.before)
        self.under_way: set[bytes] = set()
        self.repairs: set[bytes] = set()
        self.num_sent = 0  # and not answered yet

    def asked(self) -> Asked:
        """The counts of the run."""
        ends = [self.counts[name] for name in ("found", "replied", "refused", "gave_up")]
        found, replied, refused, gave_up = ends
        total = sum(job.total for job in self.jobs)
        not_asked = total - sum(ends) - self.counts["repeated"]
        spent = self.budget.spent.plus(self.before, -1)
        unsure, throttled = self.budget.unsure, self.counts["throttled"]
        counts = (total, found, replied, refused, gave_up, not_asked)
        return Asked(*counts, spent, self.capped, self.room, unsure, throttled)

    async def run(self) -> None:
        """Ask all jobs at the same time."""
        self.loop = asyncio.get_running_loop()
        self.stopping, self.freed = asyncio.Event(), asyncio.Event()
        progress = Progress(sum(job.total for job in self.jobs))
        async with contextlib.AsyncExitStack() as stack:
            lanes: list[Lane] = [
                await stack.enter_async_context(open_lane(job, self.store.has_given_up))
                for job in self.jobs
            ]
            reporting = asyncio.create_task(progress.follow(self, lanes))
            try:
                async with asyncio.TaskGroup() as group:
                    for lane in lanes:
                        for _ in range(min(lane.job.endpoint.concurrency, max(lane.job.total, 1))):
                            group.create_task(self._work(lane))
                for lane in lanes:
                    await self._confirm(lane)
            finally:
                reporting.cancel()
                progress.close(self, lanes)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Send no more; what is under way goes on to its end."""
        self.stopping.set()
        self.freed.set()

    async def _work(self, lane: Lane) -> None:
        """One of a lane's workers: a request at a time, to its end."""
        try:
            for request in lane.waiting:
                if self.stopping.is_set() and (self.error or not self.capped):
                    return  # behind a cap, what the store has is still counted
                if request.key in self.under_way:  # the same question twice
                    self.counts["repeated"] += 1
                    continue
                if self.store.is_final(request.key):
                    self.counts["found"] += 1
                    lane.found += 1
                    if self.counts["found"] % 100 == 0:
                        await asyncio.sleep(0)  # replies that come in meanwhile want to be seen
                elif state := await self._see_to(lane, request):
                    self.counts[state] += 1
                await self._repair(lane, request)
        except Exception as error:  # of who makes the requests, say: the others are waited for
            self._fail(error)

    async def _repair(self, lane: Lane, request: Request) -> None:
        if lane.job.repair is None or self.stopping.is_set():
            return
        again = lane.job.repair(request)
        if again is None or again.key in self.under_way or self.store.is_final(again.key):
            return
        self.repairs.add(again.key)
        await self._see_to(lane, again)

    async def _see_to(self, lane: Lane, request: Request) -> State | None:
        """Ask until the request has an end; ``None`` if it has none, since the run stops."""
        self.under_way.add(request.key)
        try:
            return await self._until_end(lane, request)
        finally:
            self.under_way.discard(request.key)

    async def _until_end(self, lane: Lane, request: Request) -> State | None:
        tries, prompt_tokens = Tries(), request.prompt_tokens()
        while await self._hold(worst := lane.worst(request, prompt_tokens)):
            async with lane.pace.slot():
                found = await self._send(lane, request, worst)
                if found is None:
                    return None
                lane.learn(prompt_tokens, found)
                wait_s = tries.count(found)
                state = _state(found.kind, tries)
                await self._record(lane, request, found, state, worst)
                if found.kind == "throttled":  # it keeps its slot, in which others would hear no
                    await self._pause(wait_s)
            if state != "fault":
                return state
            if found.kind != "throttled":
                await self._pause(wait_s)
        return None

    async def _send(self, lane: Lane, request: Request, worst: Spent) -> Attempt | None:
        """One attempt, which is on the account before it is sent; ``None`` if the run stops."""
        sent = Event(request.key, self.purpose, "sent", spent=worst)
        if self.stopping.is_set() or not await self._write(sent):
            self._settle(worst, Spent())
            return None
        self.num_sent += 1
        found = await attempt(lane.session, lane.job.endpoint, request)
        self.num_sent -= 1
        if found.kind == "replied":
            lane.pace.replied(found.seconds)
        elif found.kind == "throttled" or found.timed_out:
            lane.pace.troubled()
        return found

    async def _record(
        self, lane: Lane, request: Request, found: Attempt, state: State, worst: Spent
    ) -> None:
        """Write down what became of an attempt, and wait for the disk."""
        spent = found.spent(lane.job.endpoint, worst)
        what = (state, found.status, spent.plus(worst, -1), found.error, found.body)
        event = Event(request.key, self.purpose, *what)
        await self._write(event)
        self._settle(worst, spent)
        lane.count(found, event)
        self.counts["throttled"] += found.kind == "throttled"
        if state == "replied":
            await self._confirm(lane)
        if found.kind == "hopeless":
            hint = lane.job.endpoint.hint(found.status)
            self._fail(UserError(f"{lane.server}: {found.error}{hint}"))
        elif lane.is_hopeless:
            said = f"{lane.in_a_row} requests in a row had no reply, so the command stops"
            again = "started again, it begins with others"
            error = f"{lane.server}: {said}; {again}; the last one: {lane.last_error}"
            self._fail(UserError(error))

    async def _confirm(self, lane: Lane) -> None:
        """Write as refused for good what a working server has refused, unless the run stops.

        It may stop since the server has changed and refuses all: those in that row are asked again.
        """
        events = [] if self.stopping.is_set() else lane.confirmed()
        for event, is_written in zip(
            events, await asyncio.gather(*map(self._write, events)), strict=True
        ):
            if is_written and event.key not in self.repairs:
                self.counts["gave_up"] -= 1
                self.counts["refused"] += 1

    async def _write(self, event: Event) -> bool:
        """Append an event and wait for the disk; false, and the end of the run, if it cannot be."""
        written = self.loop.create_future()

        def done(problem: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone after a second Ctrl+C
                self.loop.call_soon_threadsafe(_resolve, written, problem)

        self.store.append(event, done)
        if problem := await written:
            self._fail(UserError(f"store: {self.store.path} cannot be written: {problem}"))
        return problem is None

    async def _hold(self, worst: Spent) -> bool:
        """Set a request aside, when there is room for it; false if there never will be."""
        while not self.stopping.is_set():
            if self.budget.hold(worst):
                return True
            if not self.budget.held.requests:
                self.capped, self.room = self.budget.passed(worst), self.budget.room(worst)
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

    def _fail(self, error: Exception) -> None:
        """Stop for an error; what is under way may be paid and is waited for."""
        self.error = self.error or error
        self.stop()


def _state(kind: Kind, tries: Tries) -> State:
    """What is written of an attempt; a refusal is final when it is confirmed."""
    if kind == "replied":
        return "replied"
    return "gave_up" if kind in ("refused", "barred") or tries.are_enough else "fault"


def _resolve(future: asyncio.Future[Exception | None], problem: Exception | None) -> None:
    if not future.done():
        future.set_result(problem)
