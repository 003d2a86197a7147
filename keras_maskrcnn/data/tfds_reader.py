"""Reads records of TFDS: of `coco_instances` (data/tfds_coco.py), and of `lvis` from TFDS.

The builder is not needed: a folder with built `coco_instances` can be copied and read anywhere.
tensorflow_datasets takes seconds to import, so the first call imports it.
"""

import dataclasses
import json
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as mask_api

from keras_maskrcnn.data import bands, graph_records, npy
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import CocoDataset, coco_dict
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import decode_mask
from keras_maskrcnn.data.pixels import read_header, read_pixels
from keras_maskrcnn.data.tfds_import import open_builder
from keras_maskrcnn.typing import Crowds, Path, Tensors

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True, eq=False)
class TfdsDataset(CocoDataset):
    """A `CocoDataset` with images in shards of records. `tfds_dataset` makes it.

    Attributes:
        images: str. Name, version and split.
        annotations: dict. The records as the content of a COCO json, with crowds.
        places: (file, offset, length) of each image's record.
        stored_dtype: str. The dtype of images that are stored as tensors.
        layout: `graph_records.Layout` of records that TensorFlow reads alone; None for others.
        slots: (N,) int64. With a layout, the place of each instance among those of its record.
    """

    places: list[tuple[str, int, int]] = dataclasses.field(default_factory=list, repr=False)
    stored_dtype: str = "uint8"
    layout: graph_records.Layout | None = None
    slots: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int), repr=False)

    def load_image(self, index: int) -> np.ndarray:
        """Reads one image, see `CocoDataset.load_image`."""
        path, offset, length = self.places[index]
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            record = tf.train.Example.FromString(file.read(length))
        features = record.features.feature
        where = f"{self.images}: image {self.image_ids[index]!r}"
        if "image/value" in features:
            (content,) = features["image/value"].bytes_list.value
            shape = tuple(features["image/shape"].int64_list.value)
            pixels = _decompress(content, shape, self.stored_dtype, where)
            return bands.fit(pixels, where, self.channels, self.image_dtype, colors=False)
        (content,) = features["image"].bytes_list.value
        return read_pixels(where, content, channels=self.channels, dtype=self.image_dtype)

    def in_graph(self, targets: bool) -> Callable[[tf.Tensor], Tensors] | None:
        """Returns what `graph_records.reader` returns; None if a subclass may read otherwise."""
        return graph_records.reader(self, targets) if type(self) is TfdsDataset else None


def tfds_dataset(
    builder: "tfds.core.DatasetBuilder | Path",
    split: str,
    *,
    data_dir: Path | None = None,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    masks: bool | None = True,
    crowds: Crowds = "drop",
    mask_size: int | None = None,
    keep_empty: bool = True,
    channels: int | None = None,
    image_dtype: str | None = None,
    pixel_max: float | None = None,
) -> TfdsDataset:
    """Opens a built split of `coco_instances`, or of `lvis` from TFDS.

    All records are read once, without decoding images. Annotations are checked as in `coco_json`:
    those that training cannot use are dropped, counted and logged.

    Args:
        builder: tfds.core.DatasetBuilder, a folder with shards, or a name such as
            "coco_instances/2017".
        split: str, for instance "train" or "train[:10%]".
        data_dir: folder of TFDS's data sets, used with a name. By default TFDS's standard folder.
        category_ids, class_names, masks, crowds, mask_size, keep_empty: as in `coco_dict`. By
            default `category_ids` are all of the data set, in ascending order, and `mask_size` is
            that of the records' crops, or 112 if they have none.
        channels, image_dtype, pixel_max: as in `coco_dict`. By default those with which the records
            were made; 8-bit RGB if the records do not tell.

    Raises:
        ValueError: if there is no such data set or split.
        DataError: if records lack a required field, or an annotation cannot be used.
    """
    builder = open_builder(builder, data_dir)
    name, info = _name(builder, split), builder.info
    try:
        info.splits[split]
    except (KeyError, ValueError) as error:
        known = ", ".join(info.splits) or "none, it is not built"
        raise ValueError(
            f"{info.full_name} in {builder.data_dir} has these splits: {known}."
            f" Received: split={split!r}."
        ) from error
    read, known_ids = _reader(info, name)
    reading, stored_dtype = _reading(info, channels, image_dtype, pixel_max)
    layout = graph_records.layout_of(info.features)
    if mask_size is None:
        mask_size = 112 if layout is None else layout.mask_size
    images, annotations, places = [], [], {}
    for place, record in _records(builder, split):
        where = f"{name}: image {record['image/id']!r}"
        if isinstance(record["image"], dict):  # a tensor
            size = (*record["image"]["shape"][:2].tolist(),)
            found = int(record["image"]["shape"][2])
            bands.check_bands(found, where, reading.channels, colors=False)
            bands.check_dtype(stored_dtype, where, reading.image_dtype)
        else:
            size, _ = read_header(where, record["image"], reading)
        image, objects = read(record, size)
        images.append({**image, "height": size[0], "width": size[1]})
        places[image["id"]] = place
        if not record.get("image/decodes", True):
            layout = None  # a broken image: only Python's reader says so in one line, or skips it
        for label, entry in zip(record["objects"]["label"], objects, strict=True):
            annotation = {"image_id": image["id"], "category_id": known_ids[label], **entry}
            annotations.append(annotation)
    classes = zip(known_ids, info.features["objects"]["label"].names, strict=True)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": identity, "name": title} for identity, title in classes],
    }
    coco = coco_dict(
        name,
        content,
        source=name,
        category_ids=category_ids,
        class_names=class_names,
        masks=masks,
        crowds=crowds,
        mask_size=mask_size,
        keep_empty=keep_empty,
        check_images=False,
        **reading.fields(),
    )
    fields = {field.name: getattr(coco, field.name) for field in dataclasses.fields(coco)}
    kept = [places[image_id] for image_id in coco.image_ids]
    return TfdsDataset(
        **fields,
        places=kept,
        stored_dtype=stored_dtype,
        layout=layout,
        slots=_slots(annotations, coco.annotation_ids),
    )


def _slots(annotations, kept):
    """Returns the place of each kept annotation among those of its image, (N,) int."""
    counts: dict[Any, int] = {}
    slot_of = {}
    for entry in annotations:
        slot_of[entry["id"]] = counts.get(entry["image_id"], 0)
        counts[entry["image_id"]] = slot_of[entry["id"]] + 1
    return np.array([slot_of[identity] for identity in kept], int)


def _reading(info, channels, image_dtype, pixel_max):
    """Returns how images are read, and the dtype in which the records hold them."""
    feature = info.features["image"]
    stored = np.dtype(feature.np_dtype).name
    known = dict(info.metadata or {})
    dtype = stored if image_dtype is None else image_dtype
    white = known.get("pixel_max") if pixel_max is None and dtype == stored else pixel_max
    return Reading(feature.shape[-1] if channels is None else channels, dtype, white), stored


def _decompress(content, shape, dtype, where):
    """Returns the pixels of a tensor that was compressed with zlib."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    sound = len(shape) == 3 and min(shape) > 0
    if sound:
        npy.check_numbers(where, shape)
    try:
        stored = zlib.decompressobj().decompress(content, count + 1) if sound else b""
        return np.frombuffer(stored, dtype).reshape(shape)
    except (zlib.error, ValueError) as error:
        line = f"{where}: the tensor of pixels is broken. Received: shape={shape}, {error}."
        raise DataError(line, "unreadable image") from error


def _reader(info, name):
    """Returns the function that reads a record, and the category ids in the order of the labels.

    Args:
        info: tfds.core.DatasetInfo.
        name: str. The name of the split in error messages.
    """
    fields = _fields(info.features)
    if {"image/filename", "objects/bbox_pixels", "objects/mask_rle"} <= fields:
        return _read_coco_instances, info.metadata["category_ids"]
    if {"neg_category_ids", "objects/segmentation"} <= fields:
        # In TFDS, a label of LVIS is its category id minus 1.
        return _read_lvis, range(1, 1 + info.features["objects"]["label"].num_classes)
    raise DataError(
        f"{name}: records must have the features of coco_instances, or of lvis from TFDS."
        f" Received: features={sorted(fields)}."
    )


def _name(builder, split):
    """Returns the name of a split in error messages."""
    return f"{builder.info.full_name} {split}"


def _records(builder, split):
    """Yields the place of each record, and the record as a dict with encoded images."""
    import tensorflow_datasets as tfds

    name, features = _name(builder, split), builder.info.features
    file_format = builder.info.file_format
    if file_format != tfds.core.FileFormat.TFRECORD:
        raise DataError(
            f"{name}: records must be in TFRecord files. Received: file_format={file_format.value}."
        )
    decoders = {"image": tfds.decode.SkipDecoding()}
    if "masks" in features:
        decoders["masks"] = tfds.decode.SkipDecoding()
    if "objects/segmentation" in _fields(features):
        decoders["objects"] = {"segmentation": tfds.decode.SkipDecoding()}
    for shard in builder.info.splits[split].file_instructions:
        read = slice(shard.skip, shard.skip + shard.take)
        records = tf.data.TFRecordDataset(shard.filename).skip(shard.skip).take(shard.take)
        records = records.map(
            lambda record: features.deserialize_example(record, decoders=decoders),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        try:
            places = _places(shard.filename)
            if len(places) != shard.examples_in_shard:
                raise ValueError(f"{len(places)} records, not {shard.examples_in_shard}")
            yield from zip(places[read], records.as_numpy_iterator(), strict=True)
        except (tf.errors.OpError, struct.error, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{shard.filename}: broken records. Received: {reason}.") from error


def _places(path):
    """Returns (path, offset, length) of all records in a TFRecord file.

    A record has 8 bytes for the length, 4 for its checksum, the content, and 4 for its checksum.
    """
    places, offset = [], 0
    with tf.io.gfile.GFile(path, "rb") as file:
        size = file.size()
        while head := file.read(8):
            (length,) = struct.unpack("<Q", head)
            places.append((path, offset + 12, length))
            offset += 12 + length + 4
            if offset > size:  # TensorFlow would first allocate memory for it
                raise ValueError(f"a record of {length} bytes in a file of {size}")
            file.seek(offset)
    return places


def _fields(features):
    """Returns the names of a record's features; the name of an object's is like "objects/bbox"."""
    specs = features.get_tensor_info()
    if not isinstance(specs, dict):
        return set()
    inner = specs.get("objects")
    return {*specs, *(f"objects/{name}" for name in (inner if isinstance(inner, dict) else ()))}


def _read_coco_instances(record, size):
    """Returns image and annotations as in a COCO json, without the image's size and categories."""
    image = {
        "id": read_identity(record["image/id"]),
        "file_name": record["image/filename"].decode(),
    }
    names = ("id", "bbox_pixels", "is_crowd", "area", "mask_rle")
    objects = zip(*(record["objects"][name] for name in names), strict=True)
    return image, [
        {
            "id": read_identity(identity),
            "bbox": _coco_box(corners),
            "iscrowd": int(is_crowd),
            "area": float(area),
            "segmentation": {"size": [*size], "counts": counts.decode()} if counts else [],
        }
        for identity, corners, is_crowd, area, counts in objects
    ]


def _read_lvis(record, size):
    """Does the same as `_read_coco_instances` for LVIS.

    Images of LVIS also list the categories that are verified absent, or not annotated everywhere.
    """
    image = {"id": int(record["image/id"]), "file_name": f"{record['image/id']:012d}.jpg"}
    for name in ("neg_category_ids", "not_exhaustive_category_ids"):
        image[name] = [int(label) + 1 for label in record[name]]
    names = ("id", "bbox", "area", "segmentation")
    objects = zip(*(record["objects"][name] for name in names), strict=True)
    return image, [
        {
            "id": int(identity),
            "bbox": _coco_box(
                np.float32(relative[[1, 0, 3, 2]] * np.array([*size[::-1]] * 2, np.float64))
            ),
            "iscrowd": 0,
            "area": int(area),
            "segmentation": encode_png(segmentation),
        }
        for identity, relative, area, segmentation in objects
    ]


def read_identity(text: str | bytes) -> Any:
    """Reads the id of an image or an annotation, stored as JSON. `coco_dict` checks its type."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"an id must be JSON. Received: {error}.") from error


def _coco_box(corners):
    """Turns float32 [x1, y1, x2, y2] into COCO's [x, y, width, height]."""
    x1, y1, x2, y2 = corners.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def encode_png(png: bytes) -> dict[str, Any]:
    """Turns a mask in an image file into compressed run lengths."""
    try:
        mask = decode_mask(png)
    except ValueError as error:
        raise DataError(f"a mask must be a PNG. Received: {error}.") from error
    encoded = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}
