"""Notes SIGTERM and Ctrl-C during `fit`, so that the current step can be finished and saved."""

import inspect
import signal
import threading
from collections.abc import Callable
from typing import Any

import keras

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes the first signal during a model's `fit`; a second one acts at once.

    The constructor takes over the signals in the main thread only, as other threads get none.

    Args:
        model: keras.Model. Its `fit` is running.
        on_failed: function without arguments. If `fit` fails and nothing calls `release`, the next
            StopSignals calls this function.

    Attributes:
        received: int. The number of the signal; None before a signal.
    """

    def __init__(self, model: keras.Model, on_failed: Callable[[], None]) -> None:
        self.received = None
        self._model = model
        self._on_failed: Callable[[], None] | None = on_failed
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                _release_failed(signal.getsignal(number))
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def release(self) -> None:
        """Restores the earlier signal handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python
        self._handlers, self._on_failed = {}, None

    def _note(self, number, frame):
        """Handles a signal. After a failed `fit`, it passes the signal to the earlier handler."""
        during_fit = self._fit_led_to(frame)
        self.release()
        if during_fit:
            self.received = number
        else:
            signal.raise_signal(number)

    def _fit_led_to(self, frame):
        """Returns whether the model's `fit` is among the calls that led to a frame."""
        while frame is not None:
            if frame.f_code.co_name == "fit" and frame.f_locals.get("self") is self._model:
                return True
            frame = frame.f_back
        return False


def _release_failed(handler):
    """Cleans up after a failed `fit` whose handler still has a signal."""
    signals = getattr(handler, "__self__", None)
    if isinstance(signals, StopSignals) and not signals._fit_led_to(inspect.currentframe()):
        undo = signals._on_failed
        if undo is not None:
            undo()
