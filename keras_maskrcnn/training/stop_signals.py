"""SIGTERM and Ctrl-C during `fit`: noted, so that the step at hand can be finished and saved."""

import inspect
import signal
import threading
from collections.abc import Callable
from typing import Any

import keras

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes the first signal during a model's `fit`; a second one acts at once.

    It takes the signals over when it is made, if that is in the main thread: others get none.

    Args:
        model: keras.Model, whose `fit` runs.
        on_failed: function without arguments. If `fit` fails and nobody calls `release`, the next
            StopSignals calls it.

    Attributes:
        received: int, the number of the signal; None before.
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
        """Gives the signals back to those who had them before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python
        self._handlers, self._on_failed = {}, None

    def _note(self, number, frame):
        """Handles a signal. After a `fit` that failed, it is for the handler before this one."""
        during_fit = self._fit_led_to(frame)
        self.release()
        if during_fit:
            self.received = number
        else:
            signal.raise_signal(number)

    def _fit_led_to(self, frame):
        """Whether `fit` of the model is among the calls that led to a frame."""
        while frame is not None:
            if frame.f_code.co_name == "fit" and frame.f_locals.get("self") is self._model:
                return True
            frame = frame.f_back
        return False


def _release_failed(handler):
    """Undoes what a `fit` has left behind that failed and still has a signal."""
    signals = getattr(handler, "__self__", None)
    if isinstance(signals, StopSignals) and not signals._fit_led_to(inspect.currentframe()):
        undo = signals._on_failed
        if undo is not None:
            undo()
