"""Debian's Chromium without a window, steered over a pipe by its DevTools protocol.

Source: chromedevtools.github.io/devtools-protocol; messages of `--remote-debugging-pipe` end with a
zero byte, and pass through the descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

AXE = Path(sys.prefix) / "node_modules/axe-core/axe.min.js"
"""As `scripts/environment test` installs it."""
_START = 'exec chromium "$@" 3<&"$IN" 4>&"$OUT"'
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
)
Colors = Literal["light", "dark"]


@dataclass
class Page:
    """A page that is open, to be asked and to be typed into."""

    to: BinaryIO
    back: BinaryIO
    session: str = ""
    _sent: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the browser told without being asked."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and waits for its result.

        Raises:
          RuntimeError: the browser refuses it, or is gone.
        """
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while (reply := self._read()).get("id") != self._sent:
            self.events.append(reply)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    def _read(self) -> dict[str, Any]:
        read = bytearray()
        while (byte := self.back.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("Chromium ended; is Debian's package `chromium` installed?")
            read += byte
        reply: dict[str, Any] = json.loads(read)
        return reply

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression gives, awaited, as JSON has it.

        Raises:
          RuntimeError: it throws.
        """
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def open(self, file: Path, width: int, colors: Colors) -> None:
        """Opens a file as a device of a width and a preference of colours shows it."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        preferred = [{"name": "prefers-color-scheme", "value": colors}]
        self.call("Emulation.setEmulatedMedia", media="", features=preferred)
        self.call("Page.enable")
        self.call("Page.navigate", url=file.absolute().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self.events.clear()

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses and releases a key, such as `Enter` (13, with the text of a line's end)."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def findings(self) -> list[str]:
        """What axe-core calls serious or critical on the page, with the elements that are meant."""
        self.ask(AXE.read_text(encoding="utf-8") + "; undefined")
        found = self.ask("axe.run().then((result) => result.violations)")
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: "
            + "; ".join(
                str(node["target"]) + " " + str(node["failureSummary"]) for node in each["nodes"]
            )
            for each in found
            if each["impact"] in {"serious", "critical"}
        ]


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with one empty page.

    Args:
      profile: an empty folder for what the browser keeps.
    """
    child_in, to = os.pipe()
    back, child_out = os.pipe()
    command = ["bash", "-c", _START, "bash", *_OPTIONS, "--remote-debugging-pipe"]
    command += [f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "IN": str(child_in), "OUT": str(child_out), "HOME": str(profile)},
        pass_fds=(child_in, child_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(child_in)
    os.close(child_out)
    with os.fdopen(to, "wb") as writes, os.fdopen(back, "rb") as reads:
        page = Page(writes, reads)
        try:
            made = page.call("Target.createTarget", url="about:blank")
            attached = page.call("Target.attachToTarget", flatten=True, **made)
            page.session = attached["sessionId"]
            yield page
            page.session = ""
            page.call("Browser.close")
        finally:
            process.terminate()
            process.wait()
