"""One thread, no hub, a cache of the session's own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pools and tokenised traces of tests do not mix with the user's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NT_CACHE", str(tmp_path_factory.mktemp("nt-cache")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def no_earlier_responses(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What one test's student has said is not found by another test in this process."""
    folder = tmp_path_factory.mktemp("responses")
    monkeypatch.setattr("nt_lightning.evaluation.cache.cache_dir", lambda: folder)
