"""A Chromium without a window, driven over its own protocol (Chrome DevTools)."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KEYS = {"ArrowDown": 40, "ArrowUp": 38}
READY = "!document.getElementById('app')?.hidden && document.readyState === 'complete'"


class Browser:
    """One tab of a Chromium of its own; every event it sends is kept."""

    def __init__(self, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count()
        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu",
                   "--no-first-run", "--window-size=1400,900", "--remote-debugging-port=0",
                   f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        self._loop.run_until_complete(self._connect(folder / "DevToolsActivePort"))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    async def _connect(self, port_file: Path) -> None:
        end = time.monotonic() + 30
        while not port_file.is_file() or not port_file.read_text().strip():
            assert time.monotonic() < end, "chromium did not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as reply:
            pages = await reply.json()
        address = next(one for one in pages if one["type"] == "page")["webSocketDebuggerUrl"]
        self._socket = await self._session.ws_connect(address, max_msg_size=0)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result; what else arrives meanwhile are events."""
        return self._loop.run_until_complete(self._send(method, params))

    async def _send(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = json.loads((await self._socket.receive(timeout=60)).data)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def value(self, expression: str) -> Any:
        """The JSON value of an expression in the page."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.02)

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a page afresh and wait until its responses can be read."""
        self.events.clear()
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=page.as_uri() + fragment)
        self.wait(READY)

    def press(self, key: str) -> None:
        """A key, as from a keyboard, and all that follows from it."""
        code = KEYS.get(key, ord(key[0].upper()))
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra
            )
        self.settle()

    def click(self, selector: str) -> None:
        """A click on the first element of a kind, and all that follows from it."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")
        self.settle()

    def settle(self) -> None:
        """Two frames: events of the address and of folds have been seen to."""
        self.value("new Promise(r => requestAnimationFrame(() => setTimeout(() => r(1), 20)))")

    def texts(self, selector: str) -> list[str]:
        """The text of all elements of a kind."""
        return self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
        )

    def state(self) -> dict[str, str]:
        """What the page's address says."""
        return self.value("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")

    def close(self) -> None:
        """End the browser."""
        self._loop.run_until_complete(self._send("Browser.close", {}))
        self._loop.run_until_complete(self._socket.close())
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.wait(30)
