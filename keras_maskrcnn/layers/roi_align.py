"""RoIAlign (§3) on one feature map, or on a pyramid with all levels in one map (the atlas)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.layers.atlas import place_boxes, pyramid_atlas
from keras_maskrcnn.layers.pooling import crop_and_average, gather_and_average
from keras_maskrcnn.layers.pooling_matrix import pooling_matrix
from keras_maskrcnn.layers.roi_layer import RoILayer
from keras_maskrcnn.ops.portable import is_portable
from keras_maskrcnn.ops.python import gradients_of_graph


def check_sampling(sampling_ratio: int, pooling: str) -> None:
    """Raises a ValueError if `roi_align` does not allow these arguments."""
    if sampling_ratio < 0:
        raise ValueError(
            f"sampling_ratio must be at least 0. Received: sampling_ratio={sampling_ratio}."
        )
    if pooling not in ("average", "max"):
        raise ValueError(f"pooling must be average or max. Received: pooling={pooling!r}.")
    if pooling == "max" and not sampling_ratio:
        raise ValueError(
            "sampling_ratio must be above 0 for pooling='max', which needs the same number of "
            f"points in every bin. Received: sampling_ratio={sampling_ratio}."
        )


def roi_align(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    levels: tf.Tensor,
    *,
    output_size: int,
    strides: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = True,
    pooling: str = "average",
    bounded: bool = False,
    corners: bool = False,
    owners: tf.Tensor | None = None,
) -> tf.Tensor:
    """Pools each box to a fixed grid without rounding its corners (RoIAlign, §3).

    Only `features` get a gradient. It is computed by a sparse matrix and not by TensorFlow's
    CropAndResizeGradImage. On CPUs, the threads of the latter add to the same cells without a lock
    and lose gradients (tensorflow/tensorflow#42033).

    Args:
        features: list of L (B, Hl, Wl, K) float. Feature maps, finest first.
        boxes: (B, R, 4) float32 [x1, y1, x2, y2] in image pixels. Points more than one cell
            outside their map read 0. With more than one map, `aligned` and a `sampling_ratio`
            above 0, boxes must lie in the image, or `bounded` must be true.
        levels: (B, R) int32 in [0, L). The map that each box is pooled from.
        output_size: int m. Bins per side: 7 for boxes, 14 for masks (Figure 4).
        strides: L numbers. Image pixels per cell of each map.
        sampling_ratio: int n. n x n points are pooled per bin; the paper uses 2. 0 takes as many
            as a bin has cells per side, rounded up (detectron2).
        aligned: bool. If true, value i of a map sits at i + 0.5. If false, it sits at i, and boxes
            are at least one cell wide and high (torchvision's models).
        pooling: "average" or "max" of the points of a bin (Table 2c).
        bounded: bool. Whether to check for points outside their map, which takes time.
        corners: bool. If true, sample as CropAndResize does: the outermost bins are centered on
            the box's corners, and a map's cells span the canvas from its first to its last pixel.
            `aligned` is then ignored, and `output_size` must be at least 2.
        owners: (n,) int32 in [0, B), or None. The image of each box, if the boxes of all images are
            one list: `boxes` is then (n, 4), and `levels` is (n,).

    Returns:
        (B, R, m, m, K) in the dtype of `features`; (n, m, m, K) with `owners`.

    Raises:
        ValueError: if `sampling_ratio` is below 0, or 0 with `pooling="max"`, or there is no such
            `pooling`.
    """
    check_sampling(sampling_ratio, pooling)
    shape = [*tf.unstack(tf.shape(boxes)[:-1]), output_size, output_size, features[0].shape[-1]]
    atlas = pyramid_atlas(features)
    # For "max", each point is first averaged as a small bin with one point.
    bins, ratio = output_size, sampling_ratio
    if pooling == "max":
        bins, ratio = output_size * sampling_ratio, 1
    placed = place_boxes(boxes, levels, atlas, strides, bins, aligned, corners, owners)
    bounded = bounded or not (aligned or corners)
    pooled = tf.cast(_average(atlas, placed, bins, ratio, bounded), atlas.cells.dtype)
    if pooling == "max":
        pooled = _maxima_of_points(pooled, sampling_ratio)
    return tf.reshape(pooled, shape)


def _average(atlas, placed, bins, ratio, bounded):
    """Averages the points of each bin, with a gradient for `atlas.cells`.

    Args:
        atlas: `Atlas`.
        placed: `PlacedBoxes`, N of them.
        bins: int m. Bins per side.
        ratio: int. Points per side of a bin. 0 takes as many as the bin has cells, rounded up.
        bounded: bool. As in `roi_align`.

    Returns:
        (N, m, m, K) float32.
    """
    shape, num_bins = tf.shape(atlas.cells), tf.size(placed.image) * bins**2
    depth = atlas.cells.shape[-1]

    @tf.custom_gradient
    def average(cells):
        matrix = None
        if is_portable():
            pooled = gather_and_average(atlas._replace(cells=cells).map(), placed, bins, ratio)
        elif ratio:  # several times faster than the matrix
            atlas_map = atlas._replace(cells=cells).map()
            pooled = crop_and_average(atlas_map, placed, bins, ratio, bounded)
        else:  # CropAndResize can only read the same number of points in every bin
            matrix = pooling_matrix(atlas, placed, bins, ratio)
            pooled = matrix.pool(tf.reshape(cells, [-1, depth]), num_bins)

        def gradient(upstream):
            used = matrix or pooling_matrix(atlas, placed, bins, ratio)
            upstream = tf.reshape(upstream, [-1, depth])
            return tf.reshape(used.gradient(upstream, shape[0] * shape[1]), shape)

        return tf.reshape(pooled, [-1, bins, bins, depth]), gradient

    # CropAndResize has no bfloat16 kernel.
    return gradients_of_graph(average(tf.cast(atlas.cells, tf.float32)))


def _maxima_of_points(points, ratio):
    """Takes each bin's maximum: (N, bins * ratio, bins * ratio, K) -> (N, bins, bins, K)."""
    pool = [tf.nn.max_pool2d, tf.nn.avg_pool2d]
    pool, other = (lambda f=f: f(points, ratio, ratio, "VALID") for f in pool)
    # On CPUs, the gradient of MaxPool crashes the process if there are no boxes.
    return pool() if is_portable() else tf.cond(tf.size(points) > 0, pool, other)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIAlign(RoILayer):
    """Pools boxes with `roi_align`, each from the level for its size; see `RoILayer`.

    Args:
        output_size, strides, canonical_size, level_rule: as in `RoILayer`.
        sampling_ratio, aligned, pooling: as in `roi_align`.

    Raises:
        ValueError: as in `RoILayer` and `roi_align`.
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[float],
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
        aligned: bool = True,
        level_rule: str = "detectron2",
        pooling: str = "average",
        **kwargs: Any,
    ) -> None:
        super().__init__(output_size, strides, canonical_size, level_rule, **kwargs)
        check_sampling(sampling_ratio, pooling)
        self.sampling_ratio, self.aligned, self.pooling = sampling_ratio, aligned, pooling

    def pool(
        self,
        features: Sequence[tf.Tensor],
        boxes: tf.Tensor,
        levels: tf.Tensor,
        owners: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return roi_align(
            features,
            boxes,
            levels,
            output_size=self.output_size,
            strides=self.strides,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            pooling=self.pooling,
            owners=owners,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
            "pooling": self.pooling,
        }
