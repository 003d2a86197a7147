"""Readers of images and annotations, augmentations, and the pipeline that makes batches.

Each reader returns a `CocoDataset`. `batches` turns it into a `tf.data.Dataset`.
"""

from typing import TYPE_CHECKING

from keras_maskrcnn.on_demand import names_on_demand

if TYPE_CHECKING:
    from keras_maskrcnn.data import augment
    from keras_maskrcnn.data.coco import CocoDataset, coco_dict, coco_json, require_instances
    from keras_maskrcnn.data.errors import DataError
    from keras_maskrcnn.data.formats import (
        cityscapes,
        csv_boxes,
        cvat,
        label_studio,
        labelme,
        mask_images,
        open_images,
        panoptic,
        supervisely,
        via_json,
        voc,
        yolo_seg,
    )
    from keras_maskrcnn.data.instances import from_instances, from_table
    from keras_maskrcnn.data.items import ItemsDataset, from_items
    from keras_maskrcnn.data.lvis import lvis_json
    from keras_maskrcnn.data.pipeline import batches
    from keras_maskrcnn.data.pixels import read_pixels
    from keras_maskrcnn.data.proposals import ProposalFile, ProposalWriter, read_proposals
    from keras_maskrcnn.data.service import through_service
    from keras_maskrcnn.data.set_writing import write_coco
    from keras_maskrcnn.data.sources import Source, open_source
    from keras_maskrcnn.data.tfds_reader import TfdsDataset, tfds_dataset
    from keras_maskrcnn.data.tiled_set import TiledDataset, tiled
    from keras_maskrcnn.data.volumes import from_volume

__all__ = [
    "CocoDataset",
    "DataError",
    "ItemsDataset",
    "ProposalFile",
    "ProposalWriter",
    "Source",
    "TfdsDataset",
    "TiledDataset",
    "augment",
    "batches",
    "cityscapes",
    "coco_dict",
    "coco_json",
    "csv_boxes",
    "cvat",
    "from_instances",
    "from_items",
    "from_table",
    "from_volume",
    "label_studio",
    "labelme",
    "lvis_json",
    "mask_images",
    "open_images",
    "open_source",
    "panoptic",
    "read_pixels",
    "read_proposals",
    "require_instances",
    "supervisely",
    "tfds_dataset",
    "through_service",
    "tiled",
    "via_json",
    "voc",
    "write_coco",
    "yolo_seg",
]
__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        "coco": ["CocoDataset", "coco_dict", "coco_json", "require_instances"],
        "errors": ["DataError"],
        "formats": [
            "cityscapes",
            "csv_boxes",
            "cvat",
            "label_studio",
            "labelme",
            "mask_images",
            "open_images",
            "panoptic",
            "supervisely",
            "via_json",
            "voc",
            "yolo_seg",
        ],
        "instances": ["from_instances", "from_table"],
        "items": ["ItemsDataset", "from_items"],
        "lvis": ["lvis_json"],
        "pipeline": ["batches"],
        "pixels": ["read_pixels"],
        "proposals": ["ProposalFile", "ProposalWriter", "read_proposals"],
        "service": ["through_service"],
        "set_writing": ["write_coco"],
        "sources": ["Source", "open_source"],
        "tfds_reader": ["TfdsDataset", "tfds_dataset"],
        "tiled_set": ["TiledDataset", "tiled"],
        "volumes": ["from_volume"],
    },
)
