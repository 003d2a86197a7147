"""Reads LVIS json: COCO's format without file names. The images are in the folders of COCO."""

import os
from typing import Any

from keras_maskrcnn.data.coco import CocoDataset, coco_dict
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.typing import Path


def lvis_json(images: Path, annotations: Path, **options: Any) -> CocoDataset:
    """Reads an LVIS json.

    Everything else is as in `coco_json`. LVIS annotates only some of the categories in each image.
    pycocotools does not know this and counts every detection of another category as wrong.
    Therefore its numbers are lower than those of the official LVIS evaluation (docs/data_tfds.md).

    Args:
        images: folder of COCO 2017 with the subfolders `train2017` and `val2017`. The validation
            images of LVIS come from both.
        annotations: json file.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if the json, an annotation or an image cannot be used.
    """
    annotations = os.fspath(annotations)
    content = with_file_names(read_json(annotations))
    return coco_dict(images, content, source=annotations, **options)


def with_file_names(content: Any) -> Any:
    """Gives every image without `file_name` the last two parts of its `coco_url` as file name.

    The `coco_url` of LVIS is "http://images.cocodataset.org/val2017/000000397133.jpg".

    Returns:
        `content`, changed in place. Anything that does not have COCO's form stays as it is;
            `coco_dict` refuses it later.
    """
    images = content.get("images") if isinstance(content, dict) else None
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and "file_name" not in image:
            address = image.get("coco_url")
            if isinstance(address, str):
                image["file_name"] = "/".join(address.split("/")[-2:])
    return content
