"""A headless Chromium that tests drive by the DevTools protocol, through two pipes."""

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import time

import numpy as np
from PIL import Image

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Page:
    """A page in a browser of its own.

    Args:
        profile: path of an empty folder.
        size: (width, height) of the window.

    Attributes:
        requests: list of str. The addresses of all that the page asked for.
        problems: list of str. Exceptions and errors in the console.
    """

    def __init__(self, profile, size=(1280, 800)):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def connect():  # the protocol's descriptors are 3 and 4
            there, back = os.dup(to_browser), os.dup(from_browser)
            os.dup2(there, 3)
            os.dup2(back, 4)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        options += ["--no-first-run", "--disable-background-networking", "--hide-scrollbars"]
        self._process = subprocess.Popen(
            [PROGRAM, *options, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._numbers, self._buffer, self._session = itertools.count(1), b"", None
        self.requests, self.problems = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(self, method, **parameters):
        """Calls a method of the protocol and returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self, seconds=60):
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], seconds)[0], "no answer from Chromium"
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium ended"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(message)
        self._note(message.get("method"), message.get("params"))
        return message

    def _note(self, method, parameters):
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", details).get("description", str(details)))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog: {parameters['message']}")

    def open(self, url, until):
        """Opens an address and waits until an expression is true."""
        self.call("Page.navigate", url="about:blank")
        self.requests, self.problems = [], []
        self.call("Page.navigate", url=str(url))
        self.wait(until)

    def ask(self, expression):
        """Returns the value of an expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression, seconds=30):
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(f"Boolean({expression})"):
            assert time.monotonic() < end, f"not true in {seconds} s: {expression}"
            time.sleep(0.02)

    def click(self, x, y):
        """Presses and releases the mouse at a point."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def key(self, key, **more):
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text, **more)

    def screenshot(self):
        """Returns what is seen, (h, w, 3) uint8."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
