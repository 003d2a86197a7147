"""Records that TensorFlow reads alone: what the builder stores, and the operations that read it.

Python functions run in the process that made them, and hold its lock. Without them, images are read
by tf.data's own threads, and by the workers of a tf.data service in other processes and machines.

Two things make this exact. The builder stores an image file as it is only if TensorFlow decodes it
to the pixels that `data.read_pixels` reads, and otherwise as a PNG of these pixels. And it stores
each mask as the crop that training takes, because the run lengths of a whole image would be slow to
sample with TensorFlow's operations.
"""

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.data import png
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.pixels import read_pixels
from keras_maskrcnn.logger import logger
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import Orientation, Path, Size, Tensors


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the records of a data set hold.

    Attributes:
        channels: int. Bands of the images.
        image_dtype: str. Their dtype.
        encoded: bool. Whether images are JPEG or PNG files; otherwise tensors, compressed by zlib.
        mask_size: int M. Side of the mask crops.
    """

    channels: int
    image_dtype: str
    encoded: bool
    mask_size: int


def stored_image(
    path: Path, reading: Reading, as_tensor: bool, orientation: Orientation = "ignore"
) -> tuple[Any, bool]:
    """Returns what a record holds of an image file.

    Args:
        path: str.
        reading: `data.bands.Reading`.
        as_tensor: bool. Whether records hold pixels, because no PNG can hold them.
        orientation: as in `data.read_pixels`. "apply" stores upright pixels.

    Returns:
        A file object of JPEG or PNG, or the pixels.
        A bool, whether TensorFlow reads it as `data.read_pixels` reads the file. False for 8-bit
            RGB that cannot be decoded at all, which is stored as it is, so that reading it tells.

    Raises:
        DataError: as in `data.read_pixels`, but not for 8-bit RGB.
    """
    content = None
    if reading.is_rgb:
        with open(path, "rb") as file:
            content = file.read()
    try:
        pixels = read_pixels(path, **reading.of_files(), orientation=orientation)
    except DataError as error:
        if content is None:
            raise
        logger().warning("%s. It is stored as it is.", str(error).removesuffix("."))
        return io.BytesIO(content), False
    if as_tensor:
        return pixels, True
    if content is not None and _decodes_to(content, pixels, reading):
        return io.BytesIO(content), True
    return io.BytesIO(png.encode(pixels)), True


def _decodes_to(content, pixels, reading):
    """Whether TensorFlow decodes a file to these pixels."""
    try:
        decoded = _decode(content, reading.channels, reading.image_dtype)
    except tf.errors.OpError:  # no JPEG or PNG
        return False
    return np.array_equal(decoded, pixels)


def stored_masks(objects: Sequence[Mapping[str, Any]], size: Size, mask_size: int) -> np.ndarray:
    """Makes the mask crops of a record, as `CocoDataset.load` makes them.

    Args:
        objects: A dicts with `bbox_pixels` [x1, y1, x2, y2] and `mask_rle`, as in a record.
        size: (height, width) of the image.
        mask_size: int M.

    Returns:
        (A, M, M) uint8. Zeros without an outline, or if the box has no area inside the image.
    """
    masks = np.zeros((len(objects), mask_size, mask_size), np.uint8)
    for mask, entry in zip(masks, objects, strict=True):
        # Boxes are float32 in records, and are clipped when they are read.
        sides = np.array([*size[::-1]] * 2, np.float32)
        box = np.clip(np.asarray(entry["bbox_pixels"], np.float32), 0, sides)
        if entry["mask_rle"] and (box[:2] < box[2:]).all():
            mask[:] = rle.crop(entry["mask_rle"].encode("ascii"), box, size, mask_size)
    return masks


def reader(dataset: Any, targets: bool) -> Callable[[tf.Tensor], Tensors] | None:
    """Makes the function that reads an example with TensorFlow's operations only.

    Boxes and labels are kept in the graph, as they were checked when the data set was opened: 24
    bytes per instance. Images and masks are read from the records.

    Args:
        dataset: `TfdsDataset`.
        targets: bool. Whether to read boxes, labels and masks.

    Returns:
        A function of an index, () int64, that returns a dict as `TfdsDataset.load`; without
        `targets` only its `image`. None if the records do not hold what the data set returns: older
        ones, another `mask_size`, other channels or another dtype.
    """
    layout, with_masks = dataset.layout, targets and dataset.has_masks
    asked = dataset.channels, dataset.image_dtype, dataset.mask_size if with_masks else None
    if layout is None or asked != (
        layout.channels,
        layout.image_dtype,
        layout.mask_size if with_masks else None,
    ):
        return None
    files, file_of = np.unique([path for path, *_ in dataset.places], return_inverse=True)
    with tf.init_scope(), tf.device("CPU:0"):
        names = tf.constant(files.tolist())
        shards = tf.constant(file_of, tf.int32)
        begins = tf.constant([begin for _, begin, _ in dataset.places], tf.int64)
        lengths = tf.constant([length for *_, length in dataset.places], tf.int64)
        if targets:
            offsets = tf.constant(dataset.offsets, tf.int64)
            kept = {"boxes": tf.constant(dataset.boxes), "labels": tf.constant(dataset.labels)}
            slots = tf.constant(dataset.slots if with_masks else [], tf.int32)
        if targets and dataset.has_ignored:
            counts = [len(regions) for regions in dataset.ignored]
            regions = tf.constant(np.concatenate(dataset.ignored), tf.float32)
            edges = tf.constant(np.cumsum([0, *counts]), tf.int64)

    def read(index):
        record = _read_record(names[shards[index]], begins[index], lengths[index])
        features = tf.io.parse_single_example(record, _features(layout, with_masks))
        example = {"image": _pixels(features, layout)}
        if not targets:
            return example
        instances = slice(offsets[index], offsets[index + 1])
        example |= {name: values[instances] for name, values in kept.items()}
        if dataset.has_ignored:
            example["ignored"] = regions[edges[index] : edges[index + 1]]
        if with_masks:
            values = tf.io.decode_raw(tf.io.decode_compressed(features["masks"], "ZLIB"), tf.uint8)
            masks = tf.reshape(values, [-1, *[layout.mask_size] * 2])
            example["masks"] = tf.gather(masks, slots[instances])
        return example

    return read


def _read_record(path, begin, length):
    """Reads the record with its content at `begin`, and compares its checksums.

    A TFRecord starts with 8 bytes for its length and 4 for their checksum, and ends with 4 bytes.
    """
    shard = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="",
        buffer_size=length + 16,  # one read, also over a network
        byte_offsets=[begin - 12],
        metadata="",
    )
    records = tf.data.experimental.from_variant(shard, tf.TensorSpec([], tf.string))
    return records.take(1).get_single_element()


def _features(layout, with_masks):
    """Returns the features of a record that are read."""
    features: dict[str, Any] = {"masks": tf.io.FixedLenFeature([], tf.string)}
    features = features if with_masks else {}
    if layout.encoded:
        return {**features, "image": tf.io.FixedLenFeature([], tf.string)}
    features["image/value"] = tf.io.FixedLenFeature([], tf.string)
    features["image/shape"] = tf.io.FixedLenFeature([3], tf.int64)
    return features


def _pixels(features, layout):
    """Returns the image of a record, (H, W, C)."""
    if layout.encoded:
        return _decode(features["image"], layout.channels, layout.image_dtype)
    values = tf.io.decode_compressed(features["image/value"], "ZLIB")
    return tf.reshape(tf.io.decode_raw(values, layout.image_dtype), features["image/shape"])


def _decode(content, channels, dtype):
    """Decodes a JPEG or PNG file."""
    if channels == 3 and dtype == "uint8":
        # It decodes PNGs too. Pillow also uses the accurate transform.
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.io.decode_png(content, channels=channels, dtype=dtype)


def layout_of(features: Any) -> Layout | None:
    """Returns the layout of the records of a data set; None for those of version 1.0.0.

    Args:
        features: tfds.features.FeaturesDict.
    """
    if "masks" not in features:
        return None
    image = features["image"]
    encoded = not isinstance(image.get_serialized_info(), dict)  # tensors also store a shape
    dtype = np.dtype(image.np_dtype).name
    return Layout(image.shape[-1], dtype, encoded, features["masks"].shape[-1])
