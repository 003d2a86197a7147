"""Downloads published weights: the peers' for COCO, and those of Keras for ImageNet."""

import os
from typing import Any

import keras

from keras_maskrcnn.data.coco_classes import COCO_CLASSES
from keras_maskrcnn.files import checksum
from keras_maskrcnn.weights.checkpoint import CheckpointError

_TORCHVISION = "https://download.pytorch.org/models/"
_MATTERPORT = "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/"
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"
_MASKS = f"{_DETECTRON2}COCO-InstanceSegmentation/mask_rcnn_"
_BOXES = f"{_DETECTRON2}COCO-Detection/faster_rcnn_"
URLS = {
    "mask_rcnn_resnet50_fpn_torchvision": f"{_TORCHVISION}maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
    "mask_rcnn_resnet50_fpn_torchvision_v2": (
        f"{_TORCHVISION}maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth"
    ),
    "faster_rcnn_resnet50_fpn_torchvision": (
        f"{_TORCHVISION}fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    ),
    "faster_rcnn_resnet50_fpn_torchvision_v2": (
        f"{_TORCHVISION}fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"
    ),
    "mask_rcnn_resnet101_fpn_matterport": f"{_MATTERPORT}mask_rcnn_coco.h5",
    **{
        f"mask_rcnn_{name}_detectron2": f"{_MASKS}{path}.pkl"
        for name, path in {
            "resnet50_fpn": "R_50_FPN_3x/137849600/model_final_f10217",
            "resnet101_fpn": "R_101_FPN_3x/138205316/model_final_a3ec72",
            "resnext101_32x8d_fpn": "X_101_32x8d_FPN_3x/139653917/model_final_2d9806",
            "resnet50_c4": "R_50_C4_3x/137849525/model_final_4ce675",
            "resnet101_c4": "R_101_C4_3x/138363239/model_final_a2914c",
            "resnet50_dc5": "R_50_DC5_3x/137849551/model_final_84107b",
            "resnet101_dc5": "R_101_DC5_3x/138363294/model_final_0464b7",
        }.items()
    },
    **{
        f"faster_rcnn_{name}_detectron2": f"{_BOXES}{path}.pkl"
        for name, path in {
            "resnet50_fpn": "R_50_FPN_3x/137849458/model_final_280758",
            "resnet101_fpn": "R_101_FPN_3x/137851257/model_final_f6e8b1",
            "resnext101_32x8d_fpn": "X_101_32x8d_FPN_3x/139173657/model_final_68b088",
            "resnet50_c4": "R_50_C4_3x/137849393/model_final_f97cb7",
            "resnet101_c4": "R_101_C4_3x/138204752/model_final_298dad",
            "resnet50_dc5": "R_50_DC5_3x/137849425/model_final_68d202",
            "resnet101_dc5": "R_101_DC5_3x/138204841/model_final_3e0943",
        }.items()
    },
}

# First digits of each file's SHA-256. torchvision has them in the file's name. Those of detectron2
# come from CompressAI-Vision's installer (detectron2's file names have digits of another hash). No
# digits are published for Matterport's file and detectron2's others, so these are not checked.
SHA256 = {
    "mask_rcnn_resnet50_fpn_torchvision": "bf2d0c1e",
    "mask_rcnn_resnet50_fpn_torchvision_v2": "73cbd019",
    "mask_rcnn_resnet50_fpn_detectron2": "9a737e290372f1f7",
    "mask_rcnn_resnext101_32x8d_fpn_detectron2": "12f6e1811baf1b4d",
    "faster_rcnn_resnet50_fpn_torchvision": "258fb6c6",
    "faster_rcnn_resnet50_fpn_torchvision_v2": "dd69338a",
    "faster_rcnn_resnet50_fpn_detectron2": "3c25caca37baabbf",
    "faster_rcnn_resnext101_32x8d_fpn_detectron2": "fe5ad56ff746aa55",
}


# File name and MD5 of keras.applications' networks without classifiers.
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
IMAGENET = {
    name: (f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5", md5)
    for name, md5 in {
        "resnet50": "4d473c1dd8becc155b73f8504c6f6626",
        "resnet101": "88cf7a10940856eca736dc7b7e228a21",
    }.items()
}


def download(preset: str) -> str:
    """Downloads a preset's COCO weights once into Keras' cache, and returns their path.

    Raises:
        ValueError: if no COCO weights are published for this preset.
        CheckpointError: if the file cannot be downloaded, or has another checksum.
    """
    if preset not in URLS:
        raise ValueError(
            f"COCO weights are published for {', '.join(URLS)}. Received: preset={preset!r}."
        )
    path = _get_file(
        URLS[preset],
        "get the file elsewhere and pass its path as `weights`",
        cache_subdir=os.path.join("keras_maskrcnn", preset),
    )
    expected = SHA256.get(preset, "")
    found: Any = checksum(path)
    if not found.startswith(expected):
        raise CheckpointError(
            f"{path} is not the published file: its SHA-256 begins with {found[:8]}, not "
            f"{expected}. Delete it, and it will be downloaded again."
        )
    return path


def download_imagenet(backbone: str) -> str:
    """Downloads a backbone's ImageNet weights once, and returns their path.

    The file lies in the same cache as those of keras.applications.

    Raises:
        ValueError: if Keras publishes no weights for this backbone.
        CheckpointError: if the file cannot be downloaded, or has another checksum.
    """
    if backbone not in IMAGENET:
        raise ValueError(
            f'weights="imagenet" exist only for {" and ".join(IMAGENET)}. '
            f"Received: backbone={backbone!r}."
        )
    name, md5 = IMAGENET[backbone]
    instead = "get the file elsewhere and load it with weights.load_keras_applications"
    return _get_file(f"{_KERAS}{name}", instead, cache_subdir="models", file_hash=md5)


def _get_file(url, instead, **arguments):
    try:
        return keras.utils.get_file(url.rsplit("/", 1)[1], origin=url, **arguments)
    except Exception as error:  # Keras raises a bare Exception for any error of urllib
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{url} cannot be downloaded ({reason}). Without a network, {instead}."
        ) from error


def coco_classes(num_classes: int) -> dict[str, Any]:
    """Returns the class names and category ids of COCO, in the order of the peers' labels.

    Args:
        num_classes: 80; or 90, where labels are category ids, including the unused ones.

    Returns:
        dict with class_names and category_ids, two fields of `MaskRCNNConfig`.
    """
    ids = tuple(COCO_CLASSES) if num_classes == len(COCO_CLASSES) else range(1, num_classes + 1)
    names = tuple(COCO_CLASSES.get(i, f"unused {i}") for i in ids)
    return {"class_names": names, "category_ids": tuple(ids)}
