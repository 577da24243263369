"""python -m tests.benchmarks.request_overhead [--sizes 10000 200000] [--rounds 3]

What a request costs us: a server that answers at once, so that all time is the client's. Requests a
second, CPU-seconds and peak memory of the client's process, its store on the disk and flushed;
then the rate of the openai client with the same concurrency, whose replies are only in memory.
The server is a process of its own and has one of the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.protocol import (
    REPOSITORY,
    Meter,
    Result,
    alternate,
    fresh_process,
    median_of,
    ratio,
    report,
)

NAME = "tests.benchmarks.request_overhead"
CONCURRENCY = 64
RIVAL_NUM = 5000
SIDES = ("ours", "openai")


def run_ours(port: int, num: int) -> Result:
    """Through the store, as the commands do."""
    from nt_lightning.requests.ask import ask
    from nt_lightning.requests.budget import Caps
    from nt_lightning.requests.jobs import Job
    from nt_lightning.requests.store import RequestStore
    from tests.servers.asking import endpoint, requests

    there = endpoint(port, concurrency=CONCURRENCY, timeout_s=60.0)
    with tempfile.TemporaryDirectory() as folder, Meter() as meter:
        path = Path(folder) / "requests.sqlite"
        with RequestStore(path) as store:
            job = Job("server", there, requests(there, num), num)
            asked = ask([job], store, "benchmark", Caps())
        size = path.stat().st_size
    assert asked.replied == num, asked
    return meter.result(per_s=num / meter.wall_s, store_bytes=size / num)


def run_openai(port: int, num: int) -> Result:
    """What one would write without us: no store, no caps, no resume."""
    from openai import AsyncOpenAI

    async def all_of_them() -> list[str | None]:
        client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(number: int) -> str | None:
            async with slots:
                reply = await client.chat.completions.create(
                    model="tiny",
                    messages=[{"role": "user", "content": f"question {number}"}],
                    temperature=0.6,
                    top_p=0.95,
                    max_tokens=64,
                )
            return reply.choices[0].message.content

        return await asyncio.gather(*(one(number) for number in range(num)))

    with Meter() as meter:
        replies = asyncio.run(all_of_them())
    assert len(replies) == num
    assert all(replies)
    return meter.result(per_s=num / meter.wall_s)


@contextmanager
def fast_server() -> Iterator[int]:
    """A server that reads no request and answers each at once: its port."""
    command = [sys.executable, "-m", "tests.servers.fault_server"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def compare(sizes: list[int], rounds: int) -> None:
    """Run all in fresh processes and print the table."""
    with fast_server() as port:

        def run(side: str, num: int = RIVAL_NUM) -> Result:
            return fresh_process(NAME, side, {"port": port, "num": num})

        both = alternate(SIDES, run, rounds)
        ours = {num: [run("ours", num) for _ in range(rounds)] for num in sizes}
    rows: list[tuple[str, object]] = []
    for num, results in ours.items():
        for key, name in (
            ("per_s", "requests/s"),
            ("cpu_s", "CPU-seconds"),
            ("peak_mib", "peak MiB"),
            ("store_bytes", "bytes of the store a request"),
        ):
            rows.append((f"{num:,}: {name}", median_of(results, key)))
    for side in SIDES:
        rows.append((f"{RIVAL_NUM:,}, {side}: requests/s", median_of(both[side], "per_s")))
        rows.append((f"{RIVAL_NUM:,}, {side}: CPU-seconds", median_of(both[side], "cpu_s")))
    rows.append(("rate, ours / openai", str(ratio(both["ours"], both["openai"], "per_s"))))
    rows.append(("CPU, openai / ours", str(ratio(both["openai"], both["ours"], "cpu_s"))))
    packages = {name: version(name) for name in ("aiohttp", "openai")}
    report("request overhead", {"concurrency": CONCURRENCY, "rounds": rounds, **packages}, rows)


def main() -> None:
    """Measure one side, or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--port", type=int)
    parser.add_argument("--num", type=int, default=RIVAL_NUM)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.side is None:
        compare(options.sizes, options.rounds)
    else:
        run = run_ours if options.side == "ours" else run_openai
        print(json.dumps(run(options.port, options.num)))


if __name__ == "__main__":
    main()
