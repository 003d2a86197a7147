"""Reads the records of TFDS: `coco_instances` (data/tfds_coco.py) and TFDS's own `lvis`.

Needs no builder: a folder that `coco_instances` was built in can be read wherever it is copied to.
tensorflow_datasets takes seconds to import, so it is imported by the first call.
"""

import io
import json
import os

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as mask_api

from keras_maskrcnn.data.coco import coco_dict
from keras_maskrcnn.data.images import DataError, read_image, read_size

SHUFFLE_BUFFER = 1000  # images, still encoded


class TfdsDataset:
    """Images in shards of records, and their instances; made by `tfds_dataset`.

    The annotations are in memory, as those of a `CocoDataset` are, and the images in the records:
    they can be read one after the other only.

    Attributes:
        builder: tfds.core.DatasetBuilder.
        split: str.
        annotations: dict. The content of the COCO json that the records amount to, crowds included.
        class_names, category_ids, num_classes, image_ids, file_names, sizes, mask_size,
        num_instances, max_instances, dropped: as of `CocoDataset`. Images are in the order of
            `examples`.
    """

    def __init__(self, builder, split, coco, keys):
        """Takes what `tfds_dataset` read.

        Args:
            builder, split: see the class.
            coco: CocoDataset of the records' annotations.
            keys: dict of image id to the value of "image/id" in its record.
        """
        self.builder, self.split = builder, split
        self.annotations, self.mask_size = coco.annotations, coco.mask_size
        self.class_names, self.category_ids = coco.class_names, coco.category_ids
        self.num_classes = coco.num_classes
        self.image_ids, self.file_names, self.sizes = coco.image_ids, coco.file_names, coco.sizes
        self.num_instances, self.max_instances = coco.num_instances, coco.max_instances
        self.dropped, self.report = coco.dropped, coco.report
        self._coco = coco
        self._index_of = {keys[image_id]: i for i, image_id in enumerate(coco.image_ids)}

    def __len__(self):
        """Number of images."""
        return len(self.image_ids)

    def examples(self, shuffle=False, seed=0, targets=True) -> tf.data.Dataset:
        """Reads all images once, from several shards at a time.

        Args:
            shuffle: whether to open the shards in random order and to mix the images of a window of
                `SHUFFLE_BUFFER`; another order in every epoch. Otherwise in that of `image_ids`.
            seed: int. The same seed gives the same orders.
            targets: whether to make boxes, labels and masks.

        Returns:
            tf.data.Dataset of dicts
                image: (H, W, 3) uint8 RGB, decoded as by `read_image`.
                index: () int64. Position in `image_ids`.
                boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels.
                labels: (n,) int32 in 1..C.
                masks: (n, M, M) uint8, as of `CocoDataset.load`.
        """
        records = _records(self.builder, self.split, shuffle, seed)
        if shuffle:
            records = records.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
        if len(self) < len(records):  # keep_empty=False
            records = records.filter(lambda record: self._keeps(record["image/id"]))
        shapes = {"image": [None, None, 3], "index": []}
        dtypes = {"image": tf.uint8, "index": tf.int64}
        if targets:
            shapes |= {"boxes": [None, 4], "labels": [None]}
            shapes |= {"masks": [None, self.mask_size, self.mask_size]}
            dtypes |= {"boxes": tf.float32, "labels": tf.int32, "masks": tf.uint8}

        def load(key, content):
            index = self._index_of[key]
            where = f"{_name(self.builder, self.split)}: image {self.image_ids[index]!r}"
            example = {"image": read_image(where, content), "index": np.int64(index)}
            if targets:
                example |= self._coco.load_targets(index)
            return [example[name] for name in shapes]

        def load_in_graph(record):
            inputs, outputs = [record["image/id"], record["image"]], list(dtypes.values())
            values = tf.numpy_function(load, inputs, outputs, stateful=False)
            named = zip(shapes.items(), values, strict=True)
            return {name: tf.ensure_shape(value, shape) for (name, shape), value in named}

        return records.map(load_in_graph, num_parallel_calls=tf.data.AUTOTUNE)

    def _keeps(self, key):
        """Whether a record's image belongs to the data set, inside the graph."""
        keeps = tf.numpy_function(self._index_of.__contains__, [key], tf.bool, stateful=False)
        return tf.ensure_shape(keeps, [])


def tfds_dataset(
    builder, split, *, data_dir=None, category_ids=None, mask_size=112, keep_empty=True
) -> TfdsDataset:
    """Opens a split of `coco_instances`, or of TFDS's `lvis`, that is built already.

    All records are read once, without decoding an image, and their annotations checked as those of
    a json: what is of no use is dropped, counted and logged.

    Args:
        builder: tfds.core.DatasetBuilder, a folder with shards, or a name such as
            "coco_instances/2017".
        split: str, for instance "train" or "train[:10%]".
        data_dir: folder of TFDS's data sets, for a name; TFDS's own by default.
        category_ids, mask_size, keep_empty: as for `coco_dict`. By default `category_ids` are all
            of the data set's, in ascending order.

    Raises:
        ValueError: if there is no such data set or split.
        DataError: if records lack what an instance needs, or an annotation cannot be used.
    """
    builder = _open(builder, data_dir)
    name, info = _name(builder, split), builder.info
    try:
        info.splits[split]
    except (KeyError, ValueError) as error:
        known = ", ".join(info.splits) or "none, it is not built"
        raise ValueError(
            f"{info.full_name} in {builder.data_dir} has these splits: {known}."
            f" Received: split={split!r}."
        ) from error
    fields = _fields(info.features)
    if {"image/filename", "objects/bbox_pixels", "objects/mask_rle"} <= fields:
        read, known_ids = _read_coco_instances, info.metadata["category_ids"]
    elif {"neg_category_ids", "objects/segmentation"} <= fields:
        # TFDS's builder makes labels of LVIS' category ids by taking 1 from them.
        read, known_ids = _read_lvis, range(1, 1 + info.features["objects"]["label"].num_classes)
    else:
        raise DataError(
            f"{name}: records must have the features of coco_instances or of TFDS's lvis."
            f" Received: features={sorted(fields)}."
        )
    images, annotations, keys = [], [], {}
    for record in _records(builder, split).as_numpy_iterator():
        size = read_size(f"{name}: image {record['image/id']!r}", record["image"])
        image, objects = read(record, size)
        images.append({**image, "height": size[0], "width": size[1]})
        keys[image["id"]] = record["image/id"]
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
        "", content, source=name, category_ids=category_ids, mask_size=mask_size,
        keep_empty=keep_empty, check_images=False,
    )  # fmt: skip
    return TfdsDataset(builder, split, coco, keys)


def _open(builder, data_dir):
    """Returns the builder that a folder or a name stands for."""
    if not isinstance(builder, str | os.PathLike):
        return builder
    import tensorflow_datasets as tfds

    path = os.fspath(builder)
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "dataset_info.json")):
            raise ValueError(
                "a folder of records holds dataset_info.json; it is the innermost, named after the"
                f" version. Received: builder={path!r}."
            )
        return tfds.builder_from_directory(path)
    try:
        return tfds.builder(path, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            "a builder is a folder of records, or the name of a data set in data_dir, or in TFDS's"
            f" folder if that is None. Received: builder={path!r}, data_dir={data_dir!r}."
        ) from error


def _name(builder, split):
    """Returns what error messages call a split."""
    return f"{builder.info.full_name} {split}"


def _records(builder, split, shuffle=False, seed=0):
    """Reads records as a tf.data.Dataset of dicts, whose images and masks are still encoded."""
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()}
    if "objects/segmentation" in _fields(builder.info.features):
        decoders["objects"] = {"segmentation": tfds.decode.SkipDecoding()}
    return builder.as_dataset(
        split=split,
        shuffle_files=shuffle,
        decoders=decoders,
        read_config=tfds.ReadConfig(shuffle_seed=seed, try_autocache=False),
    )


def _fields(features):
    """Returns the names of a record's features, those of its objects as "objects/bbox"."""
    specs = features.get_tensor_info()
    if not isinstance(specs, dict):
        return set()
    inner = specs.get("objects")
    return {*specs, *(f"objects/{name}" for name in (inner if isinstance(inner, dict) else ()))}


def _read_coco_instances(record, size):
    """Returns the image and the annotations of a COCO json; without sizes and categories."""
    image = {"id": json.loads(record["image/id"]), "file_name": record["image/filename"].decode()}
    names = ("id", "bbox_pixels", "is_crowd", "area", "mask_rle")
    objects = zip(*(record["objects"][name] for name in names), strict=True)
    return image, [
        {
            "id": json.loads(identity),
            "bbox": _coco_box(corners),
            "iscrowd": int(is_crowd),
            "area": float(area),
            "segmentation": {"size": [*size], "counts": counts.decode()} if counts else [],
        }
        for identity, corners, is_crowd, area, counts in objects
    ]


def _read_lvis(record, size):
    """As `_read_coco_instances`; LVIS adds categories that were looked for, or not everywhere."""
    image = {"id": int(record["image/id"]), "file_name": f"{record['image/id']:012d}.jpg"}
    for name in ("neg_category_ids", "not_exhaustive_category_ids"):
        image[name] = [int(label) + 1 for label in record[name]]
    names = ("id", "bbox", "area", "segmentation")
    objects = zip(*(record["objects"][name] for name in names), strict=True)
    return image, [
        {
            "id": int(identity),
            "bbox": _coco_box(np.float32(relative[[1, 0, 3, 2]] * np.float64([*size[::-1]] * 2))),
            "iscrowd": 0,
            "area": int(area),
            "segmentation": _encode(segmentation),
        }
        for identity, relative, area, segmentation in objects
    ]


def _coco_box(corners):
    """Turns [x1, y1, x2, y2], float32, into COCO's [x, y, width, height]."""
    x1, y1, x2, y2 = corners.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def _encode(png):
    """Turns a mask in an image file into compressed run lengths."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        mask = np.asarray(image) > 0
    encoded = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}
