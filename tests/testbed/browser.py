"""A real browser without a network: Chromium from Debian in a root file system of its own, built once and cached, so
that no other test waits for it. It is spoken to by its own protocol over two pipes; axe-core comes from the package
index.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.testbed import rootfs

_RECIPE_VERSION = 1
"""To be raised when `_build` changes."""
_PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
_AXE = "axe-playwright-python==0.1.8"
"""Of which the one file axe.min.js is used."""
_AXE_DIRECTORY = "opt/axe"
_ROWS_TRIED = 12
ANSWER_SECONDS = 60.0
"""Against a hang alone."""

_ALONE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
_COMMAND = (
    "chromium-headless-shell",
    "--no-sandbox",  # it is root in a root of its own, and shows our own pages alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--user-data-dir=/tmp/profile",
    "--remote-debugging-pipe",
)

_SCRIPT = """
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mkdir "$1/tmp/pages"
mount --bind "$2" "$1/tmp/pages"
root=$1
shift 2
exec chroot "$root" env -i PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 "$@"
"""


def root() -> Path:
    """Return the root file system with Chromium; build it first if there is none. Raise UnavailableError."""
    rootfs.require_root_on_debian()
    return rootfs.cached("browser", (_RECIPE_VERSION, _PACKAGES, _AXE), _build)


def _build(made: Path) -> None:
    rootfs.install_debian(made, "trixie", _PACKAGES)
    rootfs.pip_install(made / _AXE_DIRECTORY, _AXE, [])
    if not axe_script(made):
        raise rootfs.UnavailableError(f"{_AXE} has no axe.min.js")


def axe_script(made: Path) -> str:
    """Return the source of axe-core; nothing if it is not there."""
    return next((path.read_text(encoding="utf-8") for path in (made / _AXE_DIRECTORY).rglob("axe.min.js")), "")


class Browser:
    """One browser with one window. Pages are files of `pages`."""

    def __init__(self, made: Path, pages: Path) -> None:
        self._axe = axe_script(made)
        self._pages = pages
        self._buffer = b""
        self._number = 0
        self.said: list[str] = []
        """What the browser has complained of since the last page was opened: console, errors, what was refused."""
        self.requests: list[str] = []
        """All addresses that were asked for since then."""
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the browser
        # The browser reads from descriptor 3 and writes to 4.
        shell = f"exec 3<&{to_read} 4>&{to_write}; {_SCRIPT}"
        self._process = subprocess.Popen(
            [*_ALONE, "bash", "-ec", shell, "browser", str(made), str(pages), *_COMMAND],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=(to_read, to_write),
        )
        os.close(to_read)
        os.close(to_write)
        self._session = ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(ANSWER_SECONDS)
        os.close(self._read)
        os.close(self._write)
        self._errors.close()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda one: one.get("id") == self._number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _until(self, is_it: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        while True:
            while b"\0" not in self._buffer:
                with selectors.DefaultSelector() as selector:
                    selector.register(self._read, selectors.EVENT_READ)
                    chunk = os.read(self._read, 1 << 20) if selector.select(ANSWER_SECONDS) else b""
                if not chunk:
                    self._errors.seek(0)
                    raise RuntimeError(f"the browser is silent; it said {self._errors.read()[-2000:]!r}")
                self._buffer += chunk
            line, _, self._buffer = self._buffer.partition(b"\0")
            message: dict[str, Any] = json.loads(line)
            self._note(message)
            if is_it(message):
                return message

    def _note(self, message: Mapping[str, Any]) -> None:
        what, facts = message.get("method"), message.get("params", {})
        if what == "Runtime.consoleAPICalled":
            self.said.append(str([one.get("value") for one in facts["args"]]))
        elif what == "Runtime.exceptionThrown":
            self.said.append(str(facts["exceptionDetails"]))
        elif what == "Log.entryAdded":
            self.said.append(str(facts["entry"]["text"]))
        elif what == "Network.requestWillBeSent":
            self.requests.append(str(facts["request"]["url"]))

    def open(self, name: str, width: int, height: int, *, is_dark: bool = False) -> None:
        """Show a page in a window of that size, and wait until it is loaded."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Page.setBypassCSP", enabled=False)
        self.said, self.requests = [], []
        error = self.ask("Page.navigate", url=f"file:///tmp/pages/{name}").get("errorText")
        if error:
            raise RuntimeError(f"{name}: {error}")
        self._until(lambda one: one.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression is on the page that is shown."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression[:100]}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def picture(self, into: Path) -> None:
        """Write all of the page that is shown as PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        into.write_bytes(base64.b64decode(shot["data"]))

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong with the page that is shown, by the rules of WCAG 2.2 up to AA and its own
        best practices. Of long tables the first rows stand for the others."""
        self.value(f"{self._axe}; undefined")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        where = f"{{include: [['html']], exclude: [['tr:nth-child(n+{_ROWS_TRIED + 1})']]}}"
        run = f"axe.run({where}, {{runOnly: {json.dumps(tags)}}})"
        brief = "found => JSON.stringify(found.violations.map(one => [one.id, one.nodes.map(node => node.html)]))"
        return [f"{rule}: {nodes}" for rule, nodes in json.loads(self.value(f"{run}.then({brief})"))]
