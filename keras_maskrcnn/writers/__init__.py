"""Writes detections in formats that other tools read: one file per format, with one class.

No file is half there, also after a kill. Nothing here imports Keras or TensorFlow.
"""

from typing import Any

from keras_maskrcnn.typing import Path
from keras_maskrcnn.writers.base import Writer
from keras_maskrcnn.writers.record import ImageRecord
from keras_maskrcnn.writers.to_coco_json import CocoJson
from keras_maskrcnn.writers.to_csv import Csv
from keras_maskrcnn.writers.to_cvat import Cvat
from keras_maskrcnn.writers.to_geojson import Geojson
from keras_maskrcnn.writers.to_label_studio import LabelStudio
from keras_maskrcnn.writers.to_labelme import Labelme
from keras_maskrcnn.writers.to_png_labels import PngLabels
from keras_maskrcnn.writers.to_rle import Rle
from keras_maskrcnn.writers.to_via import Via
from keras_maskrcnn.writers.to_yolo_seg import YoloSeg

WRITERS: dict[str, type[Writer]] = {
    "coco_json": CocoJson,
    "geojson": Geojson,
    "labelme": Labelme,
    "via": Via,
    "cvat": Cvat,
    "label_studio": LabelStudio,
    "yolo_seg": YoloSeg,
    "csv": Csv,
    "png_labels": PngLabels,
    "rle": Rle,
}
"""The class of each format."""

FORMATS = tuple(WRITERS)
"""Names of the formats."""

__all__ = ["FORMATS", "WRITERS", "ImageRecord", "Writer", "open_writer"]


def open_writer(name: str, folder: Path, **options: Any) -> Writer:
    """Opens a writer of one format; see `Writer` for its methods and errors.

        with open_writer("geojson", "found", class_names=["cell"]) as writer:
            writer.add(ImageRecord("a.png", height, width), found)

    Args:
        name: str. One of `FORMATS`.
        folder: path. The file or folder that is written lies in it.
        **options: keyword arguments of `Writer`: `class_names`, `category_ids`, `tolerance`,
            `overwrite`.

    Returns:
        `Writer`, a context manager.

    Raises:
        ValueError: if there is no such format.
    """
    if name not in WRITERS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}. Received: format={name!r}.")
    return WRITERS[name](folder, **options)
