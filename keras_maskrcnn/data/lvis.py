"""Reads LVIS json: COCO's format without file names, for images that lie in COCO's folders."""

import os
from typing import Any

from keras_maskrcnn.data.coco import CocoDataset, coco_dict
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.typing import Path


def lvis_json(images: Path, annotations: Path, **options: Any) -> CocoDataset:
    """Reads an LVIS json.

    Everything else is as in `coco_json`. LVIS annotates for each image only some of the
    categories; pycocotools, which knows nothing of that, counts a detection of any other as wrong,
    so its numbers are lower than those of LVIS' own evaluation (docs/data_tfds.md).

    Args:
        images: folder of COCO 2017 that holds `train2017` and `val2017`: LVIS' validation images
            come from both.
        annotations: json file.
        options: as in `coco_dict`.

    Raises:
        DataError: if the json, an annotation or an image cannot be used.
    """
    annotations = os.fspath(annotations)
    content = with_file_names(read_json(annotations))
    return coco_dict(images, content, source=annotations, **options)


def with_file_names(content: Any) -> Any:
    """Gives images that have a `coco_url` and no `file_name` its last two parts for one.

    Returns:
        `content`, changed in place if it is LVIS', which writes
        "http://images.cocodataset.org/val2017/000000397133.jpg". Anything that is not of COCO's
        form stays for `coco_dict` to refuse.
    """
    images = content.get("images") if isinstance(content, dict) else None
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and "file_name" not in image:
            address = image.get("coco_url")
            if isinstance(address, str):
                image["file_name"] = "/".join(address.split("/")[-2:])
    return content
