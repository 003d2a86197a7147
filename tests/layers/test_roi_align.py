import keras
import numpy as np
import pytest
import roi_definitions
import tensorflow as tf
from contracts import check_layer

from keras_maskrcnn.layers.roi_align import RoIAlign, roi_align

STRIDES = (4, 8, 16, 32)


def align_one(features, box, output_size, sampling_ratio, stride=1):
    """Pools one box from one map of one image and one channel."""
    features = tf.reshape(tf.cast(features, tf.float32), [1, *features.shape, 1])
    out = roi_align(
        [features],
        tf.constant([[box]], tf.float32),
        tf.zeros([1, 1], tf.int32),
        output_size=output_size,
        strides=[stride],
        sampling_ratio=sampling_ratio,
    )
    return out[0, 0, :, :, 0].numpy()


def align_golden(data, sampling_ratio, aligned):
    """Pools the golden RoIs, each with its image's index, as one padded batch."""
    features = tf.constant(data["features"].transpose(0, 2, 3, 1))
    rois = data["rois"]
    boxes = tf.tile(tf.constant(rois[None, :, 1:]), [2, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = roi_align(
            [features],
            boxes,
            tf.zeros([2, len(rois)], tf.int32),
            output_size=7,
            strides=[4],
            sampling_ratio=sampling_ratio,
            aligned=aligned,
        )
        index = np.stack([rois[:, 0], np.arange(len(rois))], axis=1).astype(np.int32)
        out = tf.gather_nd(out, index)
        weighted = tf.reduce_sum(out * data["grad_weight"].transpose(0, 2, 3, 1))
    return out, tape.gradient(weighted, features)


def test_roi_align_samples_between_cells():
    ramp = np.arange(25.0).reshape(5, 5)  # v[y, x] = 5y + x: bilinear sampling is exact
    centers = np.array([1.25, 1.75, 2.25, 2.75]) - 0.5
    np.testing.assert_allclose(
        align_one(ramp, [1, 1, 3, 3], 4, 1), 5 * centers[:, None] + centers, atol=1e-5
    )


def test_roi_align_does_not_mix_up_x_and_y():
    ramp = np.arange(25.0).reshape(5, 5)
    # One bin, x from 1 to 2 and y from 3 to 4: its center is that of the cell (3, 1).
    np.testing.assert_allclose(align_one(ramp, [1, 3, 2, 4], 1, 1), [[16.0]], atol=1e-5)


def test_roi_align_divides_boxes_by_the_stride():
    ramp = np.arange(25.0).reshape(5, 5)
    near, far = align_one(ramp, [1, 0, 3, 4], 2, 2), align_one(ramp, [8, 0, 24, 32], 2, 2, stride=8)
    np.testing.assert_allclose(far, near, atol=1e-5)


def test_roi_align_averages_the_samples_of_a_bin():
    rng = np.random.default_rng(0)
    features, box = rng.normal(size=(6, 7)), [0.7, 1.1, 5.9, 4.3]
    fine = align_one(features, box, 6, 1)  # one sample per bin: 2 x 2 for each bin above
    means = fine.reshape(3, 2, 3, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(align_one(features, box, 3, 2), means, atol=1e-5)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("output_size", "sampling_ratio"), [(1, 2), (3, 1), (2, 3), (7, 2)])
def test_roi_align_equals_its_definition(output_size, sampling_ratio, aligned, pooling):
    rng = np.random.default_rng(0)
    features, corners = rng.normal(size=(9, 11, 2)), rng.uniform(-8, 52, (20, 2, 2))
    boxes = np.sort(corners, axis=1).reshape(20, 4)
    boxes[0, 2:] = boxes[0, :2] + 1.5  # smaller than a cell: grows to one if not aligned
    out = roi_align(
        [tf.constant(features[None], tf.float32)],
        tf.constant(boxes[None], tf.float32),
        tf.zeros([1, 20], tf.int32),
        output_size=output_size,
        strides=[4],
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        pooling=pooling,
    )
    for pooled, box in zip(out[0], boxes / 4, strict=True):
        if not aligned:  # value i at i, not at i + 0.5
            box = np.append(box[:2], np.maximum(box[2:], box[:2] + 1)) + 0.5
        points = roi_definitions.bin_points(features, box, output_size, sampling_ratio)
        expected = points.max(axis=2) if pooling == "max" else points.mean(axis=2)
        np.testing.assert_allclose(pooled, expected, atol=5e-5)


def test_roi_align_refuses_the_maximum_of_an_adaptive_number_of_points():
    with pytest.raises(ValueError, match="sampling_ratio=0"):
        RoIAlign(7, STRIDES, sampling_ratio=0, pooling="max")
    with pytest.raises(ValueError, match="sampling_ratio=0"):
        roi_align(
            [tf.ones([1, 4, 4, 1])],
            tf.ones([1, 1, 4]),
            tf.zeros([1, 1], tf.int32),
            output_size=7,
            strides=[1],
            sampling_ratio=0,
            pooling="max",
        )


def test_roi_align_reads_the_edge_half_a_cell_outside_the_outermost_centers():
    constant = np.full((4, 4), 7.0)
    np.testing.assert_allclose(align_one(constant, [0, 0, 4, 4], 8, 2), np.full((8, 8), 7.0), 1e-6)


def test_roi_align_reads_zero_beyond_one_cell_outside():
    constant = np.full((4, 4), 7.0)
    # Points at 4.5 and 5.5 on both axes. The map's last center is 3.5, so 4.5 still reads the edge.
    np.testing.assert_allclose(align_one(constant, [5, 5, 7, 7], 2, 1), np.zeros((2, 2)))


def test_roi_align_keeps_images_apart():
    features = tf.reshape(tf.constant([1.0, 2.0]), [2, 1, 1, 1]) * tf.ones([2, 4, 4, 1])
    boxes = tf.constant([[[0.0, 0, 4, 4]] * 3] * 2)
    out = roi_align(
        [features], boxes, tf.zeros([2, 3], tf.int32), output_size=1, strides=[1], sampling_ratio=2
    )
    np.testing.assert_allclose(out[..., 0, 0, 0], [[1, 1, 1], [2, 2, 2]], rtol=1e-6)


def test_roi_align_of_a_flipped_image_is_flipped():
    features = tf.random.normal([1, 6, 8, 2])
    boxes, flipped = tf.constant([[[1.0, 2, 5, 6]]]), tf.constant([[[3.0, 2, 7, 6]]])
    level = tf.zeros([1, 1], tf.int32)
    out = roi_align([features], boxes, level, output_size=4, strides=[1])
    mirrored = roi_align([features[:, :, ::-1]], flipped, level, output_size=4, strides=[1])
    np.testing.assert_allclose(mirrored[..., ::-1, :], out, atol=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
def test_roi_align_equals_torchvision(golden, sampling_ratio, aligned):
    # 24 RoIs: inside, partly and wholly outside the map, empty and reversed.
    data = golden("roi_align")
    out, _ = align_golden(data, sampling_ratio, aligned)
    expected = data[f"aligned{int(aligned)}_ratio{sampling_ratio}_7x7"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(out, expected, atol=5e-5)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_gradient_equals_torchvision(golden, sampling_ratio, aligned):
    data = golden("roi_align")
    _, gradient = align_golden(data, sampling_ratio, aligned)
    expected = data[f"grad_aligned{int(aligned)}_ratio{sampling_ratio}"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


def test_roi_align_between_corners_is_crop_and_resize():
    features = [tf.random.normal([1, 16 // 2**i, 32 // 2**i, 2]) for i in range(4)]
    boxes = tf.constant([[[0.0, 0, 127, 63], [10, 20, 90, 50], [64, 0, 64, 63], [5, 5, 6, 6]]])
    normalized = tf.gather(boxes[0], [1, 0, 3, 2], axis=1) / [63, 127, 63, 127]
    for level, feature in enumerate(features):
        with tf.GradientTape() as tape:
            tape.watch(feature)
            maps = [*features[:level], feature, *features[level + 1 :]]
            out = roi_align(
                maps,
                boxes,
                tf.fill([1, 4], level),
                output_size=7,
                strides=STRIDES,
                sampling_ratio=1,
                corners=True,
            )
        expected = tf.image.crop_and_resize(feature, normalized, [0] * 4, [7, 7])
        np.testing.assert_allclose(out[0], expected, atol=1e-5)
        # Pooling is linear: <1, Pf> = <P'1, f>.
        gradient = tape.gradient(out, feature)
        np.testing.assert_allclose(
            tf.reduce_sum(gradient * feature), tf.reduce_sum(expected), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_on_a_pyramid_equals_torchvision(golden, sampling_ratio):
    data = golden("multiscale")
    features = [tf.constant(data[f"features.p{i}"].transpose(0, 2, 3, 1)) for i in (2, 3, 4, 5)]
    counts = [len(data["boxes.0"]), len(data["boxes.1"])]
    stored = np.split(data["levels_canonical56"], counts[:1])
    pooled = data[f"canonical56_ratio{sampling_ratio}_7x7"].transpose(0, 2, 3, 1)
    expected = np.split(pooled, counts[:1])
    boxes, levels = np.zeros((2, 14, 4), np.float32), np.zeros((2, 14), np.int32)
    for i in range(2):
        boxes[i, : counts[i]], levels[i, : counts[i]] = data[f"boxes.{i}"], stored[i]
    out = roi_align(
        features,
        tf.constant(boxes),
        tf.constant(levels),
        output_size=7,
        strides=STRIDES,
        sampling_ratio=sampling_ratio,
        aligned=False,
    )
    for i in range(2):
        np.testing.assert_allclose(out[i, : counts[i]], expected[i], atol=5e-5)


def test_layer_fulfils_the_layer_contract():
    features = [tf.random.normal([2, 32 // 2**i, 64 // 2**i, 3]) for i in range(4)]
    boxes = tf.constant([[[3.0, 5, 120, 90], [100, 30, 256, 128]]] * 2)
    layer = RoIAlign(3, STRIDES, 1, canonical_size=56.0, aligned=False, level_rule="torchvision")
    check_layer(layer, features, boxes)
    check_layer(RoIAlign(3, STRIDES, canonical_size=56.0, pooling="max"), features, boxes)


@pytest.mark.parametrize(
    ("name", "value"), [("output_size", 0), ("sampling_ratio", -1), ("pooling", "sum")]
)
def test_layer_names_a_bad_value(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        RoIAlign(**{"output_size": 7, "strides": STRIDES, name: value})


def test_layer_inside_a_model_is_restored_from_its_config():
    inputs = [keras.Input((None, None, 3)) for _ in STRIDES]
    boxes = keras.Input((5, 4))
    model = keras.Model([*inputs, boxes], RoIAlign(7, STRIDES)(inputs, boxes))
    copy = keras.Model.from_config(model.get_config())
    assert copy.output.shape == (None, 5, 7, 7, 3)
