"""data/origin.py: finds our errors and batches in TensorFlow's objects."""

import pytest
import tensorflow as tf
from five_images import numpy, small
from resizing import resizing

from keras_maskrcnn.data import origin
from keras_maskrcnn.data.errors import DataError


@pytest.mark.parametrize("targets", [True, False])
def test_data_error_finds_our_line_in_a_tensorflow_error(dataset, tmp_path, targets):
    (tmp_path / "0.png").write_text("no image")
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=False, targets=targets))
    line = origin.data_error(caught.value)
    assert line.startswith(f"{tmp_path / '0.png'}: not an image")
    assert line.endswith(".") and "\n" not in line


def test_data_error_passes_ours_and_nothing_else():
    assert origin.data_error(DataError("a: b.")) == "a: b."
    assert origin.data_error(ValueError("DataError: a")) is None
    assert origin.data_error(tf.errors.InvalidArgumentError(None, None, "other")) is None


def test_batches_are_known_by_what_they_were_made_with(dataset):
    expected = {**resizing(24, 40), "canvases": False, "rescales": False}
    made = small(dataset, training=True)
    assert origin.made_with(made) == (expected, True)
    # Fails if TensorFlow renames the private attribute with the inputs of a data set.
    assert origin.made_with(made.take(1).prefetch(1)) == (expected, True)
    assert origin.made_with(made.map(lambda x, y: (x, y))) == (expected, False)
    assert origin.made_with(tf.data.Dataset.range(3)) == (None, False)


def test_python_is_found_at_any_depth():
    def nested(python):
        def inner(i):
            return tf.numpy_function(lambda x: x, [i], tf.int64) if python else i + 1

        def choose(i):
            return tf.cond(i > 1, lambda: inner(i), lambda: i)

        return tf.data.Dataset.range(3).flat_map(lambda i: tf.data.Dataset.range(i).map(choose))

    assert origin.calls_python(nested(True)) and not origin.calls_python(nested(False))
