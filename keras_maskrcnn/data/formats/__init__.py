"""Readers of other tools' formats: one file per format, with one public function.

Each reader takes a folder of images and the annotations, and returns a `CocoDataset`; its
`annotations` are the content of a COCO json. Image ids count from 1 in the order of file names.
Annotation ids follow the order of the images.
"""

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.data.coco import coco_json
from keras_maskrcnn.data.formats.from_cityscapes import cityscapes
from keras_maskrcnn.data.formats.from_csv import csv_boxes
from keras_maskrcnn.data.formats.from_cvat import cvat
from keras_maskrcnn.data.formats.from_label_studio import label_studio
from keras_maskrcnn.data.formats.from_labelme import labelme
from keras_maskrcnn.data.formats.from_mask_images import mask_images
from keras_maskrcnn.data.formats.from_open_images import open_images
from keras_maskrcnn.data.formats.from_panoptic import panoptic
from keras_maskrcnn.data.formats.from_supervisely import supervisely
from keras_maskrcnn.data.formats.from_via import via_json
from keras_maskrcnn.data.formats.from_voc import voc
from keras_maskrcnn.data.formats.from_yolo import yolo_seg

# The readers of the command `convert`, by the value of its --format.
READERS = {
    reader.__name__: reader
    for reader in (
        coco_json,
        via_json,
        labelme,
        mask_images,
        voc,
        yolo_seg,
        csv_boxes,
        cvat,
        label_studio,
        panoptic,
        cityscapes,
        supervisely,
        open_images,
    )
}

__all__ = ["READERS", *(name for name in READERS if name != "coco_json")]

__getattr__ = moved(
    __name__,
    {name: f"keras_maskrcnn.data.formats.from_{name}" for name in ("via", "yolo")},
)
