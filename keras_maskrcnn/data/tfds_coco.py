"""The TFDS data set `coco_instances`: any COCO json with its images and masks, as records.

    import keras_maskrcnn.data.tfds_coco  # registers the name, for tfds.load and `tfds build`

docs/data_tfds.md shows how to build one, and lists the fields of a record. This module imports
tensorflow_datasets, therefore no other module imports this one. `data/tfds_reader.py` reads the
records.

Each shard is made independently, from a plan that is stored beside it, in a folder that stays after
a killed build. Therefore the next build continues with the first missing shard. Beam can make the
shards on many machines, and the bytes are the same each time.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import uuid
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.data import graph_records, png
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import coco_dict
from keras_maskrcnn.data.coco_checks import read_box, read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.lvis import with_file_names
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.data.tfds_import import explained
from keras_maskrcnn.typing import Orientation

with explained():
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_builder, example_serializer, file_adapters, utils


@dataclasses.dataclass(eq=False)
class CocoConfig(tfds.core.BuilderConfig):
    """The name of a data set and the paths of its files. It also has the fields of BuilderConfig.

    Attributes:
        splits: dict of split name to (folder of images, json file). Paths are relative to
            `manual_dir` of the download config, or without it to the current folder.
        channels, image_dtype, pixel_max, orientation: how images are read, as in `data.coco_json`.
            8-bit RGB stays as the files are, if TensorFlow decodes them to the same pixels. Other
            images of 1, 3 or 4 channels in 8 or 16 bits become PNGs, and all others compressed
            tensors, without loss. With orientation="apply" records hold upright pixels: files with
            a tag become PNGs without one.
        mask_size: int M. Masks are also stored as M x M crops, which training takes.
    """

    splits: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    channels: int = 3
    image_dtype: str = "uint8"
    pixel_max: float | None = None
    orientation: Orientation | None = None
    mask_size: int = 112


def _coco(year):
    return CocoConfig(
        name=year,
        description=f"COCO {year}, its images and annotations unpacked in manual_dir.",
        splits={
            split: (f"{folder}{year}", f"annotations/instances_{folder}{year}.json")
            for split, folder in (("train", "train"), ("validation", "val"))
        },
    )


class CocoInstances(dataset_builder.FileReaderBuilder):
    """Builds records of images and their instances from the COCO json files of a `CocoConfig`.

    `download_and_prepare` raises DataError if a json, an annotation or an image cannot be used, and
    ValueError if there are more shards than images.
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "TensorFlow alone reads the records: mask crops, and only JPEG, PNG or tensors.",
    }
    BUILDER_CONFIGS = [_coco("2017"), _coco("2014")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir holds train2017/, val2017/ and annotations/instances_*2017.json (or 2014) of"
        " https://cocodataset.org, or what CocoConfig.splits names."
    )

    def _info(self):
        identity = "The id in the json, as json: 17, or with quotes if it is a string."
        reading = self._reading()
        features = {
            "image": _image_feature(reading),
            "image/id": tfds.features.Text(doc=identity),
            "image/filename": tfds.features.Text(),
            "image/decodes": tfds.features.Scalar(
                np.bool_, doc="Whether TensorFlow decodes the image as data.read_pixels does."
            ),
            "masks": tfds.features.Tensor(
                shape=(None, *[self.builder_config.mask_size] * 2),
                dtype=np.uint8,
                encoding="zlib",
                doc="The share of each cell of an object's box that its mask covers, times 255.",
            ),
            "objects": tfds.features.Sequence(
                {
                    "id": tfds.features.Text(doc=identity),
                    "bbox": tfds.features.BBoxFeature(doc="Clipped to the image."),
                    # The exact box: bbox is clipped and divided by the image's sides.
                    "bbox_pixels": tfds.features.Tensor(
                        shape=(4,), dtype=np.float32, doc="[x1, y1, x2, y2] as in the json."
                    ),
                    # `_plan` reads the json and sets the names.
                    "label": tfds.features.ClassLabel(),
                    "is_crowd": tfds.features.Scalar(np.bool_),
                    "area": tfds.features.Scalar(np.float32, doc="In pixels, as in the json."),
                    "mask_rle": tfds.features.Text(
                        doc="COCO's compressed run lengths over the whole image; empty if the json"
                        " gives no outline."
                    ),
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images and instances with masks, made from COCO json by keras_maskrcnn.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict({} if reading == Reading() else _fields(reading)),
        )

    def _reading(self):
        """Returns how the images of the config are read."""
        config = self.builder_config
        return Reading(config.channels, config.image_dtype, config.pixel_max)

    def _download_and_prepare(self, dl_manager, download_config=None):
        del dl_manager  # nothing is downloaded
        config = download_config or tfds.download.DownloadConfig()
        plans = self._plan(config)
        folder = self.data_path.parent / f"unfinished_{self.version}"
        names = [name for plan in plans.values() for name in plan]
        reading = self._reading()
        pixels = [] if reading.is_rgb else [_fields(reading)]
        for plan in plans.values():
            for name, (records, stamps) in plan.items():
                _begin_or_resume(folder, name, json.dumps([records, stamps, *pixels]))
        write = functools.partial(
            write_shard,
            folder=os.fspath(folder),
            features=self.info.features,
            file_format=self.info.file_format,
        )
        if config.beam_runner or config.beam_options:
            _run_with_beam(write, names, config)
        else:
            for name in utils.tqdm(names, desc="Writing shards", unit=" shards"):
                write(name)
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(records) for records, _ in plan.values()],
                num_bytes=sum((folder / name).stat().length for name in plan),
                filename_template=self._file_names(split),
            )
            for split, plan in plans.items()
        ]
        for name in names:
            (folder / name).rename(self.data_path / name)
        folder.rmtree()
        self.info.set_splits(tfds.core.SplitDict(infos))

    def _file_names(self, split):
        """Returns the template of the names of a split's files."""
        return tfds.core.ShardedFileTemplate(
            split=split,
            dataset_name=self.name,
            data_dir=self.data_path,
            filetype_suffix=self.info.file_format.file_suffix,
        )

    def _plan(self, config):
        """Reads and checks every json, and distributes the images to the shards.

        Returns:
            dict of split to its plan: a dict of each shard's file name to (records, stamps).
                Records are the examples, with a path for the image and a list for each box. A stamp
                is (size, time of the last change) of an image file.
        """
        if not self.builder_config.splits:
            raise ValueError("CocoConfig.splits must name the files. Received: splits={}.")
        sources = {}
        names: dict[str, Any] = {}
        for split, paths in self.builder_config.splits.items():
            paths = (os.path.join(config.manual_dir or "", path) for path in paths)
            images, source = (os.path.abspath(path) for path in paths)
            content = with_file_names(read_json(source))
            reading = self._reading()
            options: Any = {**_fields(reading), "orientation": self.builder_config.orientation}
            dataset = coco_dict(images, content, source=source, masks=None, **options)
            sources[split] = (dataset, content, source)
            _add_categories(names, content, source)
        category_ids = sorted(names)
        self.info.features["objects"]["label"].names = [names[i] for i in category_ids]
        self.info.metadata["category_ids"] = category_ids
        plans = {}
        for split, (dataset, content, source) in sources.items():
            records = _records(dataset, content, source, category_ids)
            records = records[: config.max_examples_per_split]
            stamps = [(s.st_size, s.st_mtime_ns) for s in (os.stat(r["image"]) for r in records)]
            total = sum(size for size, _ in stamps)
            shards = config.get_shard_config().get_number_shards(total, len(records))
            if shards > len(records):
                raise ValueError(
                    f"split {split!r} has {len(records)} images, fewer than shards."
                    f" Received: num_shards={shards}."
                )
            edges = [round(len(records) * shard / shards) for shard in range(shards + 1)]
            template = self._file_names(split)
            plans[split] = {
                template.sharded_filepath(shard_index=i, num_shards=shards).name: (
                    records[edges[i] : edges[i + 1]],
                    stamps[edges[i] : edges[i + 1]],
                )
                for i in range(shards)
            }
        return plans


def write_shard(
    name: str,
    *,
    folder: str,
    features: tfds.features.FeaturesDict,
    file_format: tfds.core.FileFormat,
) -> None:
    """Writes one shard as planned, unless it exists.

    Args:
        name: str. The shard's file name; its plan is in `name`.json.
        folder: str. The folder of both files.
        features: tfds.features.FeaturesDict.
        file_format: tfds.core.FileFormat.
    """
    folder = tfds.core.Path(folder)
    if (folder / name).exists():
        return
    records, *_ = json.loads((folder / f"{name}.json").read_text())
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    layout = graph_records.layout_of(features)
    assert layout is not None  # the features are those of this version of the builder
    reading = Reading(layout.channels, layout.image_dtype)

    def serialize(record):
        record = dict(record)
        objects, size = record["objects"], record.pop("size")
        orientation = record.pop("orientation", "ignore")
        record["image"], record["image/decodes"] = graph_records.stored_image(
            record["image"], reading, not layout.encoded, orientation
        )
        record["masks"] = graph_records.stored_masks(objects, size, layout.mask_size)
        record["objects"] = [{**entry, "bbox": np.array(entry["bbox"])} for entry in objects]
        example = features.encode_example(record)
        # deterministic: otherwise protobuf orders the fields differently in each process.
        return serializer.get_tf_example(example).SerializeToString(deterministic=True)

    unfinished = folder / f"{name}.{uuid.uuid4().hex}"  # Beam may make a shard twice at once
    examples = ((i, serialize(record)) for i, record in enumerate(records))
    file_adapters.ADAPTER_FOR_FORMAT[file_format].write_examples(unfinished, examples)
    unfinished.rename(folder / name)


def _fields(reading):
    """Returns what the records say about their pixels, whose orientation is settled."""
    return {name: value for name, value in reading.fields().items() if name != "orientation"}


def _image_feature(reading):
    """Returns the feature that holds an image."""
    if reading.is_rgb:
        return tfds.features.Image(doc="The image file as it is, or a PNG.")
    shape, dtype = (None, None, reading.channels), np.dtype(reading.image_dtype).type
    if png.fits(reading.channels, reading.image_dtype):
        doc = "The pixels, as a PNG."
        return tfds.features.Image(shape=shape, dtype=dtype, encoding_format="png", doc=doc)
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="zlib", doc="The pixels.")


def _begin_or_resume(folder, name, plan):
    """Stores the plan of a shard, and removes the shard if it was made from another plan."""
    path = folder / f"{name}.json"
    if path.exists() and path.read_text() == plan:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    path.write_text(plan)


def _run_with_beam(write, names, config):
    """Lets Beam call `write` with each of the names."""
    try:
        import apache_beam as beam
    except ImportError as error:
        raise ImportError(
            f"Beam needs the extra beam: pip install keras3-maskrcnn[beam]. Received: {error}."
        ) from error
    with beam.Pipeline(runner=config.beam_runner, options=config.beam_options) as pipeline:
        _ = pipeline | beam.Create(names) | beam.Reshuffle() | beam.Map(write)


def _add_categories(names, content, source):
    """Adds the categories of a json to `names`, a dict of id to name."""
    for category in content["categories"]:
        identity, name = category["id"], str(category.get("name", category["id"]))
        others = {known for other, known in names.items() if other != identity}
        # TFDS stores the names as stripped lines of a file, and labels must differ in their names.
        usable = name.splitlines() == [name] == [name.strip()] and name not in others
        if not usable or names.setdefault(identity, name) != name:
            raise DataError(
                f"{source}: category {identity} must have one name in all splits, a line of text"
                f" that no other category has. Received: name={name!r}."
            )


def _records(dataset, content, source, category_ids):
    """Makes the records of all images, in an order that is independent of the json's."""
    label_of = {category_id: i for i, category_id in enumerate(category_ids)}
    of_image: dict[Any, list[Any]] = {image_id: [] for image_id in dataset.image_ids}
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    records = []
    for image_id, name, size in zip(
        dataset.image_ids, dataset.file_names, dataset.sizes, strict=True
    ):
        objects = [_object(entry, size, source, label_of) for entry in of_image[image_id]]
        records.append(
            {
                "image": os.path.join(dataset.images, name),
                "image/id": json.dumps(image_id),
                "image/filename": name,
                "size": size,
                "objects": objects,
                **({"orientation": "apply"} if dataset.orientation == "apply" else {}),
            }
        )
    # Readers of shards shuffle within a window only, so similar images must not be neighbors.
    return sorted(records, key=lambda r: hashlib.sha256(r["image/id"].encode()).digest())


def _object(annotation, size, source, label_of):
    """Makes the record of one annotation in an image of `size` (height, width)."""
    height, width = size
    where = f"{source}: annotation {annotation['id']!r}"
    x1, y1, x2, y2 = read_box(annotation["bbox"], height, width, where)
    x, y, w, h = annotation["bbox"]
    counts, _ = read_segmentation(annotation.get("segmentation") or [], height, width, where)
    area = annotation.get("area")
    if area is None:
        area = w * h if counts is None else int(mask_api.area({"size": size, "counts": counts}))
    if not isinstance(area, int | float) or not math.isfinite(area):
        raise DataError(f"{where}: area must be a finite number. Received: area={area!r}.")
    return {
        "id": json.dumps(annotation["id"]),
        "bbox": [y1 / height, x1 / width, max(y1, y2) / height, max(x1, x2) / width],
        "bbox_pixels": [x, y, x + w, y + h],
        "label": label_of[annotation["category_id"]],
        "is_crowd": bool(annotation.get("iscrowd")),
        "area": float(area),
        "mask_rle": (counts or b"").decode("ascii"),
    }
