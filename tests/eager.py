"""Steps without a graph: for tests that claim nothing of it.

TensorFlow traces a training step of the tiny model for 6 s of CPU time, a prediction for 2 s;
operation by operation they take 0.6 s and 0.2 s.
"""

import contextlib

import keras
import pytest


@contextlib.contextmanager
def eager_steps():
    """Within it `fit`, `evaluate` and `predict` run as if compiled with `run_eagerly=True`."""
    always = property(lambda model: True, lambda model, value: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "run_eagerly", always)
        yield
