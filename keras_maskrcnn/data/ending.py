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
    kind_is = functools.cache(lambda kind: issubclass(kind, tf.data.Iterator))
    for one in gc.get_objects():
        if kind_is(type(one)):
            keras_private.release(one)
