"""Asks a server through the evaluation's engine, for tests that stop this process.

``python -m tests.servers.completing PORT NUM [REVISION]`` prints a line of JSON: the responses.
"""

from __future__ import annotations

import json
import logging
import sys

from nt_lightning.evaluation.engine import Limits, Prompt, Sampling
from nt_lightning.evaluation.server import Server
from nt_lightning.evaluation.server_engine import ServerEngine
from nt_lightning.traces.formatting import PromptFormatter
from tests.tiny import tiny_tokenizer


def main() -> None:
    port, num, *further = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    server = Server(
        model="tiny",
        base_url=f"http://127.0.0.1:{port}/v1",
        revision=further[0] if further else None,
        concurrency=4,
    )
    engine = ServerEngine(server, PromptFormatter(tiny_tokenizer()), "llama")
    prompts = [Prompt(str(number), (number, 5, 6), "") for number in range(int(num))]
    sampling = Sampling(max_new_tokens=20, temperature=0.0, top_p=1.0, seed=0)
    responses = engine.generate(prompts, sampling, Limits(), lambda *_: None, lambda _: None)
    print(json.dumps([response.text for response in responses]))


if __name__ == "__main__":
    main()
