"""Finished responses, found again by whoever asks the same student the same thing.

One folder holds the responses of one student under one sampling; every process appends to a file
of its own in it, so that no lock is needed on any file system. A line is a compressed record and
nothing is ever changed: a line that a kill has cut is passed over. A folder that was not used for
90 days goes away when another one is made (our choice).
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nt_lightning.evaluation.engine import Prompt, Sampling
from nt_lightning.evaluation.forcing import BudgetForcing
from nt_lightning.evaluation.generation import Generation
from nt_lightning.files import cache_dir, digest

log = logging.getLogger(__name__)

FINAL = ("stop", "length", "loop")
UNUSED_S = 90 * 24 * 3600
_FOLDER = re.compile("[0-9a-f]{32}")


class ResponseCache:
    """Responses of one student under one sampling.

    A response is found again only for the same weights, dtype, tokenizer and template, sampling,
    seed, rules of forcing, version of this package, and the same prompt: ids, key and what the
    response is begun with. It lies outside of any run, compressed; deleting it loses time only. A
    folder that cannot be read or written is told of once, and the evaluation goes on without it.

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
        try:
            self._found = dict(_records(self.folder))
        except OSError as error:
            self._give_up(error)

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
        self._found[key] = Generation(response.text, response.num_tokens, response.finish_reason)
        record = {
            "key": key,
            "text": response.text,
            "num_tokens": response.num_tokens,
            "finish_reason": response.finish_reason,
        }
        line = base64.b64encode(zlib.compress(json.dumps(record).encode())) + b"\n"
        try:
            if not self.folder.exists():
                _sweep(self.folder.parent)
                self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / self._file).open("ab") as out:
                out.write(line)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.warning("responses are not kept for later in %s: %s", self.folder, error)
        self.folder = None


def affordable(
    found: dict[int, Generation], most: int | None
) -> tuple[dict[int, Generation], int | None]:
    """Those of the known responses that a budget in tokens pays for, and what is left of it.

    Args:
        found: Responses by index; the first ones are paid for first.
        most: Tokens; ``None`` is no limit. Nothing is left where a response was not paid for.
    """
    if most is None:
        return found, None
    paid: dict[int, Generation] = {}
    for index, response in found.items():
        if response.num_tokens > most:
            return paid, 0
        most -= response.num_tokens
        paid[index] = response
    return paid, most


def _records(folder: Path) -> list[tuple[str, Generation]]:
    """Whole records of all files of a folder, which has been used now."""
    with suppress(OSError):  # there is none, or it may not be written
        os.utime(folder)
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


def _sweep(root: Path) -> None:
    """Remove the folders that nobody has used for long."""
    for folder in root.glob("*"):
        with suppress(OSError):  # another process sweeps too
            is_old = time.time() - folder.stat().st_mtime > UNUSED_S
            if is_old and _FOLDER.fullmatch(folder.name):
                shutil.rmtree(folder)


def _key(prompt: Prompt) -> str:
    return digest([prompt.key, prompt.begun, prompt.ids])[:32]
