import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.fit_to_stride import FitToStride


@pytest.mark.parametrize(
    ("cells", "sides", "before"),
    [
        ((3, 4), (24, 32), (0, 0)),  # fits
        ((2, 3), (20, 25), (0, 0)),  # one cell is missing, at the end
        ((1, 1), (24, 32), (1, 1)),  # of 2 and 3 cells, one goes to the front
    ],
)
def test_a_map_gets_the_missing_cells_on_both_sides(cells, sides, before):
    layer = FitToStride(8)
    x = np.random.default_rng(0).normal(size=(2, *cells, 5)).astype(np.float32)
    fitted = layer([x, np.zeros((2, *sides, 3), np.float32)]).numpy()
    assert fitted.shape == (2, *(-(-side // 8) for side in sides), 5)
    assert fitted.shape == layer.compute_output_shape([x.shape, (2, *sides, 3)])
    (top, left), (rows, columns) = before, cells
    np.testing.assert_array_equal(fitted[:, top : top + rows, left : left + columns], x)
    assert np.abs(fitted).sum() == pytest.approx(np.abs(x).sum(), rel=1e-5)


def test_a_larger_map_is_cut():
    x = tf.reshape(tf.range(25.0), (1, 5, 5, 1))
    fitted = FitToStride(8)([x, tf.zeros((1, 32, 24, 3))])
    np.testing.assert_array_equal(fitted, x[:, :4, :3])


def test_sides_may_be_unknown():
    layer = FitToStride.from_config(FitToStride(4).get_config())
    assert layer.compute_output_shape([(None, None, None, 7), (None, None, 16, 3)]) == (
        *(None, None, 4, 7),
    )
    call = tf.function(
        lambda x, images: layer([x, images]),
        input_signature=[tf.TensorSpec((None, None, None, 7)), tf.TensorSpec((None, None, 16, 3))],
    )
    assert call(tf.zeros((1, 1, 2, 7)), tf.zeros((1, 9, 16, 3))).shape == (1, 3, 4, 7)
