"""Asks a server N questions, for tests that kill this process and for timings.

``python -m tests.servers.asking --port P --store FILE --num N [--concurrency C] [...]``
prints a line of JSON: what became of them, seconds, CPU seconds and peak memory.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nt_lightning.errors import UserError
from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps
from nt_lightning.requests.endpoint import Endpoint
from nt_lightning.requests.jobs import Job
from nt_lightning.requests.request import Request, messages_of
from nt_lightning.requests.store import RequestStore


def endpoint(port: int, **options: object) -> Endpoint:
    """The fault server as an endpoint."""
    given = {"max_tokens": 64, "concurrency": 32, "timeout_s": 0.5, **options}
    return Endpoint("tiny", f"http://127.0.0.1:{port}/v1", **given)  # type: ignore[arg-type]


def requests(server: Endpoint, num: int, padding: int = 0) -> Iterator[Request]:
    """``question 0`` and so on."""
    for number in range(num):
        text = f"question {number}{' word' * padding}"
        yield Request.of(server.body(messages_of(None, text)), server.max_tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--num", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--timeout_s", type=float, default=0.5)
    parser.add_argument("--padding", type=int, default=0, help="words more in each question")
    parser.add_argument("--api_key_env")
    parser.add_argument("--most_requests", type=int, help="a hard cap")
    parser.add_argument("--most_tokens", type=int, help="a hard cap")
    parser.add_argument("--debug", action="store_true", help="log all there is")
    options = parser.parse_args()
    level = logging.DEBUG if options.debug else logging.INFO
    logging.basicConfig(level=level, format="%(message)s")
    server = endpoint(
        options.port,
        concurrency=options.concurrency,
        timeout_s=options.timeout_s,
        api_key_env=options.api_key_env,
    )
    caps = Caps(max_requests=options.most_requests, max_tokens=options.most_tokens)
    began = time.monotonic()
    with RequestStore(options.store) as store:
        job = Job("tiny", server, requests(server, options.num, options.padding), options.num)
        try:
            asked = ask([job], store, "test", caps)
        except UserError as error:  # as the command line does it
            sys.exit(f"error: {error}")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.monotonic() - began
    print(
        json.dumps(
            {
                **asked._asdict(),
                "seconds": wall,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_mib": usage.ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
