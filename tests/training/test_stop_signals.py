"""SIGTERM and Ctrl-C during `fit`, and after a `fit` that failed."""

import os
import signal
import threading

import pytest

from keras_maskrcnn.training.stop_signals import SIGNALS, StopSignals


class Model:
    """Has a `fit`, as Keras models have; StopSignals looks for it among the calls."""

    def fit(self, function):
        return function()


@pytest.fixture(params=SIGNALS)
def number(request):
    return request.param


@pytest.fixture
def seen(number):
    """The list of the signals that reach the earlier handlers."""
    seen = []
    before = signal.signal(number, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(number, before)


def send(number):
    os.kill(os.getpid(), number)


def test_the_first_signal_is_noted_and_a_second_acts_at_once(number, seen):
    def fit():
        signals = StopSignals(model, None)
        assert signals.received is None
        send(number)
        assert signals.received == number and not seen
        send(number)
        assert seen == [number]

    model = Model()
    model.fit(fit)


def test_after_release_signals_reach_the_earlier_handlers(number, seen):
    def fit():
        signals = StopSignals(model, None)
        signals.release()
        send(number)
        assert signals.received is None and seen == [number]

    model = Model()
    model.fit(fit)


def test_after_a_fit_that_failed_a_signal_reaches_the_earlier_handler(number, seen):
    model = Model()
    signals = model.fit(lambda: StopSignals(model, None))  # nothing calls release
    send(number)
    assert seen == [number] and signals.received is None
    send(number)
    assert seen == [number] * 2


def test_what_a_failed_fit_left_is_undone_by_the_next(number, seen):
    calls = []

    def undo():
        calls.append("undone")
        left.release()

    failed, other = Model(), Model()
    left = failed.fit(lambda: StopSignals(failed, undo))
    following = other.fit(lambda: StopSignals(other, None))
    assert calls == ["undone"]
    following.release()
    send(number)
    assert seen == [number]


def test_a_fit_within_a_fit_leaves_the_signals_of_the_outer_one(number, seen):
    def outer_fit():
        signals = StopSignals(outer, pytest.fail)
        inner.fit(lambda: StopSignals(inner, None).release())
        send(number)
        assert signals.received == number and not seen

    outer, inner = Model(), Model()
    outer.fit(outer_fit)


def test_another_thread_takes_no_signals(number, seen):
    made = []
    thread = threading.Thread(target=lambda: made.append(StopSignals(Model(), None)))
    thread.start()
    thread.join()
    send(number)
    assert seen == [number] and made[0].received is None
