"""Ends the threads of tf.data before Python ends.

Python functions run in these threads. If an iterator is alive when the interpreter ends, and one of
its threads is about to call such a function, Python kills the thread, and TensorFlow waits for it
for ever.
"""

import atexit
import functools
import gc

import tensorflow as tf

from keras_maskrcnn import keras_private


@functools.cache  # once in a process
def end_iterators_at_exit() -> None:
    """Releases all iterators of tf.data in time, when the process ends."""
    atexit.register(end_iterators)


def end_iterators() -> None:
    """Releases all iterators of tf.data; waits until their threads have ended."""
    kinds: dict[type, bool] = {}  # there are a million objects
    for one in gc.get_objects():
        kind = type(one)
        if kind not in kinds:
            kinds[kind] = issubclass(kind, tf.data.Iterator)
        if kinds[kind]:
            keras_private.release(one)
