"""A headless browser under test: the DevTools protocol over two pipes, nothing to install but the browser."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "google-chrome", "chrome")
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")  # fmt: skip


def program() -> str:
    """The browser of MAML_RL_BROWSER or of the PATH; skips the test where there is none."""
    named = os.environ.get("MAML_RL_BROWSER")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no chromium or chrome here (MAML_RL_BROWSER names another)")
    return found


# The protocol's pipes are file descriptors 3 and 4 of the browser.
_LAUNCH = """
import fcntl, os, sys
there, back = (fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3])
os.dup2(there, 3)
os.dup2(back, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page in a browser; a context manager.

    Attributes:
        complaints: what the page wrote to the console, threw, or asked the network for.
    """

    def __init__(self, folder: Path) -> None:
        words = [program(), *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        there, self._commands = os.pipe()
        self._answers, back = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(there), str(back), *words],
            pass_fds=(there, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self._read, self._count, self._session = b"", 0, ""
        self.complaints: list[str] = []

    def __enter__(self) -> "Browser":
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for part in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{part}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def open(self, page: Path, width: int, height: int, scheme: str = "light") -> None:
        """Shows the page on a screen of that size and waits until it is there."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def wait_for(self, expression: str, seconds: float = 30.0) -> None:
        """Waits until the expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.call("Runtime.evaluate", expression=expression)["result"].get("value"):
            assert time.monotonic() < end, f"{expression} does not become true"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What the expression is in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def mouse(self, event: str, x: float, y: float, clicks: int = 0) -> None:
        """Moves, presses or releases the mouse at a place of the screen."""
        button = "none" if event == "mouseMoved" and not clicks else "left"
        held = 1 if button == "left" and event != "mouseReleased" else 0
        self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button=button, buttons=held, clickCount=clicks)

    def click(self, x: float, y: float, times: int = 1) -> None:
        """Clicks once or more."""
        for count in range(1, times + 1):
            self.mouse("mousePressed", x, y, count)
            self.mouse("mouseReleased", x, y, count)

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Moves the mouse with its button down."""
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, 1)
        self.mouse("mouseMoved", (x + to_x) / 2, (y + to_y) / 2, 1)
        self.mouse("mouseMoved", to_x, to_y, 1)
        self.mouse("mouseReleased", to_x, to_y, 1)

    def picture(self, path: Path) -> None:
        """Writes the whole page as a picture."""
        made = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(made["data"]))

    def call(self, method: str, **settings: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": settings}
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps({**message, **session}).encode() + b"\0")
        while (answer := self._next()).get("id") != self._count:
            self._notice(answer)
        assert "result" in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], 60)
            assert ready, "the browser does not answer"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._read += part
        first, _, self._read = self._read.partition(b"\0")
        return json.loads(first)

    def _notice(self, event: dict[str, Any]) -> None:
        method = event.get("method")
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(event["params"])[:500])
        if method == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith(("file:", "data:", "about:", "blob:")):
                self.complaints.append(f"request for {url}")
