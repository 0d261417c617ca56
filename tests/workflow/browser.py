"""Browsers without a window, for tests of pages: open one, evaluate scripts in it, touch it, look at it.

    with Chromium(tmp_path) as browser:
        browser.open(page, width=390)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")

Chromium is spoken to over a pipe (the DevTools Protocol), Firefox over a socket (Marionette); neither needs a driver.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

CHROMIUM, FIREFOX = shutil.which("chromium"), shutil.which("firefox-esr") or shutil.which("firefox")


def address(page: Path | str) -> str:
    """A page's address: of a file, or as it stands."""
    return page.as_uri() if isinstance(page, Path) else page


class Chromium:
    """A Chromium with one page. `errors` are those that the open page's scripts have not caught."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.errors, self.loaded, self.calls, self.said = folder, [], set(), 0, b""

    def __enter__(self) -> "Chromium":
        (hears, self.asking), (self.hearing, says) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (hears, says)]  # clear of 3 and 4, which it uses

        def join() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-pipe",
             f"--user-data-dir={self.folder / 'chromium'}", "about:blank"],
            pass_fds=(3, 4), preexec_fn=join, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (hears, says, *ends):
            os.close(end)
        [page] = [one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self.session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Runtime.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.asking)
        os.close(self.hearing)

    def _call(self, method: str, session: str | None = None, **given: Any) -> dict:
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": given} | ({"sessionId": session} if session else {})
        os.write(self.asking, json.dumps(message).encode() + b"\0")
        while (said := self._hear()).get("id") != self.calls:
            pass
        assert "error" not in said, said
        return said["result"]

    def _hear(self) -> dict:
        """The next that it says: an answer or an event."""
        while b"\0" not in self.said:
            assert select.select([self.hearing], [], [], 60)[0], "Chromium says nothing"
            letters = os.read(self.hearing, 1 << 20)
            assert letters, "Chromium has ended"
            self.said += letters
        text, _, self.said = self.said.partition(b"\0")
        message = json.loads(text)
        method, about = message.get("method"), message.get("params", {})
        assert method != "Inspector.targetCrashed", "the page has crashed"
        if method == "Page.lifecycleEvent" and about["name"] == "load":
            self.loaded.add(about["loaderId"])
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        return message

    def call(self, method: str, **given: Any) -> dict:
        """A method of the DevTools Protocol, for the page."""
        return self._call(method, self.session, **given)

    def open(self, page: Path | str, width: int = 1280, height: int = 900, **media: str) -> None:
        """Open a page and wait until it is loaded. `media`: what it prefers, as `prefers_color_scheme="dark"`."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        for url in ("about:blank", address(page)):  # an address that differs in its hash alone would load nothing
            self.errors, loader = [], self.call("Page.navigate", url=url)["loaderId"]
            while loader not in self.loaded:
                self._hear()

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]["exception"].get("description")
        return done["result"].get("value")

    def touch(self, *points: tuple[float, float], hold: float = 0) -> None:
        """A finger put down at the first point, held for `hold` seconds and drawn to the others."""
        for number, (x, y) in enumerate(points):
            kind = "touchMove" if number else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
            time.sleep(0 if number else hold)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def photograph(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


class Firefox:
    """A Firefox with one page: `open` and `evaluate` as of `Chromium`."""

    def __init__(self, folder: Path) -> None:
        self.profile, self.calls = folder / "firefox", 0

    def __enter__(self) -> "Firefox":
        self.profile.mkdir(parents=True)
        (self.profile / "user.js").write_text('user_pref("marionette.port", 0);\n')
        self.process = subprocess.Popen(
            [FIREFOX, "--headless", "--no-remote", "--marionette", "--profile", self.profile],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port, end = self.profile / "MarionetteActivePort", time.monotonic() + 60
        while not port.is_file() or not port.read_text():
            assert time.monotonic() < end and self.process.poll() is None, "Firefox does not start"
            time.sleep(0.05)
        self.socket = socket.create_connection(("127.0.0.1", int(port.read_text())), timeout=120)
        self.answers = self.socket.makefile("rb")
        self._read()
        self.call("WebDriver:NewSession")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.socket.close()
        self.process.terminate()
        self.process.wait(20)

    def _read(self) -> Any:
        digits = iter(lambda: self.answers.read(1), b":")
        return json.loads(self.answers.read(int(b"".join(digits))))

    def call(self, method: str, **given: Any) -> Mapping:
        """A method of Marionette."""
        self.calls += 1
        text = json.dumps([0, self.calls, method, given])
        self.socket.sendall(f"{len(text)}:{text}".encode())
        _, _, error, result = self._read()
        assert error is None, error
        return result

    def open(self, page: Path | str) -> None:
        """Open a page and wait until it is loaded."""
        self.call("WebDriver:Navigate", url="about:blank")
        self.call("WebDriver:Navigate", url=address(page))

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        page = """
            const [text, done] = arguments, value = window.eval(text);
            Promise.resolve(value).then((value) => done({ value }), (error) => done({ error: `${error}` }));
        """
        said = self.call("WebDriver:ExecuteAsyncScript", script=page, args=[script])["value"]
        assert "error" not in said, said["error"]
        return said.get("value")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder over http, on a free port of this machine: its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
