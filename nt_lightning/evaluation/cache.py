"""Finished responses, found again by whoever asks the same student the same thing.

One folder holds the responses of one student under one sampling; every process appends to a file
of its own in it, so that no lock is needed on any file system. A line is a compressed record and
nothing is ever changed: a line that a kill has cut is passed over.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nt_lightning.evaluation.engine import Prompt, Sampling
from nt_lightning.evaluation.forcing import BudgetForcing
from nt_lightning.evaluation.generation import Generation
from nt_lightning.files import cache_dir, digest

FINAL = ("stop", "length", "loop")


class ResponseCache:
    """Responses of one student under one sampling.

    A response is found again only for the same weights, dtype, tokenizer and template, sampling,
    seed, rules of forcing, version of this package, and the same prompt: ids, key and what the
    response is begun with. It lies outside of any run, compressed; deleting it loses time only.

    Args:
        about: What the engine says of itself; ``None`` finds and keeps nothing.
        sampling: How tokens are chosen.
        forcing: Rules about thinking.
        root: Folder of all caches.
    """

    def __init__(
        self,
        about: dict[str, Any] | None,
        sampling: Sampling,
        forcing: BudgetForcing | None,
        root: Path | None = None,
    ) -> None:
        self.folder: Path | None = None
        self._found: dict[str, Generation] = {}
        self._file = f"{uuid.uuid4().hex}.jsonl"
        if about is None:
            return
        key = {
            "engine": about,
            "sampling": asdict(sampling),
            "forcing": asdict(forcing) if forcing is not None else None,
            "version": version("nt_lightning"),
        }
        self.folder = (root or cache_dir() / "responses") / digest(key)[:32]
        self._found = dict(_records(self.folder))

    def find(self, prompts: Sequence[Prompt]) -> dict[int, Generation]:
        """Responses that are there already, by index."""
        found = [(index, self._found.get(_key(prompt))) for index, prompt in enumerate(prompts)]
        return {index: response for index, response in found if response is not None}

    def keep(self, prompt: Prompt, response: Generation) -> None:
        """Store a finished response; one that a limit of the call has cut is left out."""
        if self.folder is None or response.finish_reason not in FINAL:
            return
        key = _key(prompt)
        if key in self._found:
            return
        self._found[key] = response
        record = {
            "key": key,
            "text": response.text,
            "num_tokens": response.num_tokens,
            "finish_reason": response.finish_reason,
        }
        line = base64.b64encode(zlib.compress(json.dumps(record).encode())) + b"\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / self._file).open("ab") as out:
            out.write(line)
            out.flush()
            os.fsync(out.fileno())


def _records(folder: Path) -> list[tuple[str, Generation]]:
    """Whole records of all files of a folder."""
    records = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                record = json.loads(zlib.decompress(base64.b64decode(line, validate=True)))
                response = Generation(record["text"], record["num_tokens"], record["finish_reason"])
            except (ValueError, zlib.error, KeyError):
                continue  # cut off, or empty
            records.append((record["key"], response))
    return records


def _key(prompt: Prompt) -> str:
    return digest([prompt.key, prompt.begun, prompt.ids])[:32]
