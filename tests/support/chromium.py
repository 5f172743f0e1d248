"""Headless Chromium over its debugging pipe, with nothing but the standard library.

Debian's packages `chromium` and `chromium-headless-shell` both do. `find()` is None where neither is.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
ABSENT = (
    "no Chromium: install the Debian package chromium-headless-shell (or chromium), or name a browser with "
    "LIFT_HARNESS_CHROMIUM"
)
FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check"),
    *("--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--disable-component-update", "--disable-sync"),
)


def find() -> str | None:
    """The browser's command; LIFT_HARNESS_CHROMIUM names another."""
    named = os.environ.get("LIFT_HARNESS_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with one page; messages end with a NUL on file descriptors 3 (to it) and 4 (from it)."""

    def __init__(self, command: str) -> None:
        self.profile = tempfile.mkdtemp(prefix="report-chromium-")
        to_read, self.to = os.pipe()
        self.back, back_write = os.pipe()
        # A sandbox of its own needs privileges that containers seldom have; the page is our own.
        flags = [*FLAGS, "--no-sandbox", f"--user-data-dir={self.profile}"]
        # The shell puts the pipes where Chromium looks for them. Numbers below 10 are a shell's to redirect.
        to_read, back_write = _above(to_read), _above(back_write)
        script = f'exec "$@" 3<&{to_read} 4>&{back_write}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", command, *flags],
            pass_fds=(to_read, back_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.profile},
        )
        os.close(to_read)
        os.close(back_write)
        self.buffer, self.serial, self.events = b"", 0, []
        self.session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params):
        """The result of a command; events that come meanwhile are kept."""
        self.serial += 1
        message = {"id": self.serial, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        deadline = time.monotonic() + 60
        while True:
            answer = self.receive(deadline)
            if answer is None:
                raise TimeoutError(f"Chromium did not answer {method}")
            if answer.get("id") == self.serial:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def receive(self, deadline: float):
        """The next message, None when it is too late."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.back], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self.back, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def pump(self, seconds: float = 0.05) -> None:
        """Take in events for a while."""
        deadline = time.monotonic() + seconds
        while (message := self.receive(deadline)) is not None:
            self.events.append(message)

    def close(self) -> None:
        """End the browser and remove its profile."""
        try:
            self.session = None
            self.send("Browser.close")
            self.process.wait(10)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.profile, ignore_errors=True)

    # ------------------------------------------------------------ a page

    def open(self, file: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file; forgets the events of the page before."""
        self.size(width, height)
        self.dark(dark)
        self.events = []
        self.send("Page.navigate", url=Path(file).resolve().as_uri())
        self.wait("document.readyState === 'complete'")
        self.settle()

    def size(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def dark(self, on: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.send("Emulation.setEmulatedMedia", features=[feature, still])

    def settle(self) -> None:
        """Wait for two frames: what was drawn is there."""
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def js(self, expression: str):
        """The value of an expression (or of the promise that it is)."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def each(self, selector: str, expression: str = "e.innerText") -> list:
        """The value of an expression of e for each element that a selector finds."""
        return self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => {expression})")

    def wait(self, expression: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.js(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"still not true after {seconds} s: {expression}")
            self.pump(0.02)

    def place(self, selector: str) -> dict:
        """Where an element is in the window, once it is scrolled into sight."""
        found = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            "e.scrollIntoView({block: 'center', inline: 'nearest', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return {x: r.x, y: r.y, width: r.width, height: r.height}; })()"
        )
        assert found, f"no element {selector}"
        return found

    def click(self, selector: str, dx: float = 0.5, dy: float = 0.5) -> None:
        """A real click on an element."""
        box = self.place(selector)
        where = {"x": box["x"] + dx * box["width"], "y": box["y"] + dy * box["height"]}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", **where)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)
        self.settle()

    def move(self, selector: str, dx: float = 0.5, dy: float = 0.5) -> None:
        """Move the pointer over an element."""
        box = self.place(selector)
        self.send(
            "Input.dispatchMouseEvent",
            type="mouseMoved",
            x=box["x"] + dx * box["width"],
            y=box["y"] + dy * box["height"],
        )
        self.settle()

    def key(self, key: str, code: int = 0, text: str = "", modifiers: int = 0) -> None:
        """A real key press."""
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)
        self.settle()

    def type(self, selector: str, text: str) -> None:
        """Click on a field and type."""
        self.click(selector)
        self.send("Input.insertText", text=text)
        self.settle()

    def choose(self, selector: str, text: str) -> None:
        """Choose an option of a select with the arrow keys."""
        select = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{select}.focus()")
        options = self.js(f"[...{select}.options].map((option) => option.textContent)")
        away = options.index(text) - self.js(f"{select}.selectedIndex")
        for _ in range(abs(away)):
            self.key(*(("ArrowDown", 40) if away > 0 else ("ArrowUp", 38)))
        chosen = self.js(f"{select}.selectedOptions[0].textContent")
        assert chosen == text, f"{selector}: {chosen!r} is chosen, not {text!r}"

    def text(self, selector: str) -> str:
        """The text of an element as it is shown."""
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions, since the page was opened."""
        self.pump(0.1)
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:500])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(json.dumps(params["args"])[:500])
            elif event["method"] == "Log.entryAdded":
                found.append(json.dumps(params["entry"])[:500])
        return found

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened, its own and data: left aside."""
        self.pump(0.1)
        asked = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        page = self.js("location.href")
        return [
            url for url in asked if url.split("#")[0] != page.split("#")[0] and not url.startswith("data:")
        ]

    def screenshot(self, file: Path, full: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        Path(file).write_bytes(base64.b64decode(data))


def _above(descriptor: int) -> int:
    """A descriptor that is not one of those that the browser uses, nor a shell's."""
    import fcntl

    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return high
