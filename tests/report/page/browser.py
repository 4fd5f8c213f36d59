"""A headless Chromium, controlled over a pipe by the DevTools protocol; needs no driver and no package."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

QUIET = ["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-sync"]
"""Options for containers with a small /dev/shm, and against requests of the browser itself."""

PATIENCE = 60
"""Seconds after which a silent browser counts as hung."""

KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowRight": (39, ""), " ": (32, " ")}
"""Code and text of the keys that can be pressed."""


def _give(heard: int, said: int) -> None:
    """Make these the descriptors 3 and 4, on which the protocol is spoken; they may be 3 or 4 already."""
    heard, said = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (heard, said))
    os.dup2(heard, 3)
    os.dup2(said, 4)


class Browser:
    """One window. `problems`: what its console said, what failed, and what it asked the network for."""

    def __init__(self, folder: Path) -> None:
        heard, self._ears = os.pipe()
        self._mouth, said = os.pipe()
        self._unread = b""
        self._said = 0
        self._session: dict[str, str] = {}
        self.problems: list[str] = []
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *QUIET]
        self._process = subprocess.Popen(
            [CHROMIUM, *options, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=lambda: _give(heard, said),
            stderr=subprocess.DEVNULL,
        )
        os.close(said), os.close(heard)
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._mouth)
        os.close(self._ears)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers."""
        self._said += 1
        message = {"id": self._said, "method": method, "params": parameters} | self._session
        os.write(self._ears, json.dumps(message).encode() + b"\0")
        while (answer := self._hear()).get("id") != self._said:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _hear(self) -> dict[str, Any]:
        """The next message, noted if it is of a problem."""
        while b"\0" not in self._unread:
            if not select.select([self._mouth], [], [], PATIENCE)[0]:
                raise RuntimeError(f"the browser said nothing in {PATIENCE} s")
            part = os.read(self._mouth, 1 << 16)
            if not part:
                raise RuntimeError("the browser is gone")
            self._unread += part
        text, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(text)
        method, about = message.get("method", ""), message.get("params", {})
        asked = about.get("request", {}).get("url", "") if method == "Network.requestWillBeSent" else ""
        told = about.get("entry", {}).get("level") == "info"  # such as that the focus is set already
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") and not told:
            self.problems.append(json.dumps(about))
        elif asked and not asked.startswith(("file:", "data:", "about:")):
            self.problems.append(f"asked for {asked}")
        return message

    def open(self, file: Path, width: int = 1280, scheme: str = "light") -> None:
        """Load a file in a window of that width, 900 high, for a reader who prefers `scheme`."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        prefers = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=prefers)
        self.call("Page.navigate", url=file.as_uri())
        while self._hear().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """What an expression in the page comes to."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"]))
        return done["result"].get("value")

    def click(self, selector: str) -> None:
        """A press of the mouse in the middle of the first such element."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """A key on the keyboard, for whatever has the focus."""
        code, text = KEYS[key]
        same = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def picture(self, file: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page, once its pictures are there."""
        self.run(
            "Promise.all([...document.images].filter((i) => i.src && i.checkVisibility())"
            ".map((i) => i.decode()))"
        )
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))
