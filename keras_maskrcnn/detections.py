"""Turns the model's padded outputs into the detections of one image, or into COCO results.

Masks stay in the windows of their boxes.
"""

import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.images import log_remarks
from keras_maskrcnn.data.pixels import from_pillow, read_with_remarks
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.overlaps import without_overlaps
from keras_maskrcnn.typing import Orientation, Path

if TYPE_CHECKING:
    import keras


def predict_image(
    model: "keras.Model",
    image: np.ndarray | Image.Image | Path,
    *,
    score_threshold: float = 0.0,
    max_mask_overlap: float = 1.0,
    orientation: Orientation = "ignore",
) -> dict[str, Any]:
    """Runs the model on one image and pastes the masks into it (§3.1, Inference).

    Args:
        model: MaskRCNN.
        image: array, a PIL image, or the path of an image file. An array is (H, W, 3) uint8 RGB,
            or what the config says: (H, W, in_channels) of image_dtype, in units of pixel_max; with
            one channel also (H, W). A file is read as `data.read_pixels` reads it.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        max_mask_overlap: float in [0, 1]. As in `overlaps.without_overlaps`; 1 keeps all.
        orientation: what happens to the orientation tag (EXIF) of a file or a PIL image. "ignore":
            `image` is the stored pixels. "apply": it is turned upright, and so are the results.

    Returns:
        dict of n detections by falling score, n may be 0:

            - boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels of `image`.
            - scores: (n,) float32.
            - labels: (n,) int32 in 1..num_classes.
            - masks: InstanceMasks (n, H, W), bool. Absent if the model has no mask branch. It is
              like an array, but holds the windows of the objects only; `np.asarray(masks)` makes
              the whole array.
            - class_names: tuple of str, label 1 first. Absent if the config has no class names.

    Raises:
        ValueError: if an array has another shape or dtype, or no pixel. Also if the threshold or
            the orientation is none, or the model lacks an RPN or heads.
        DataError: if a file cannot be read.
    """
    check_prediction(model, score_threshold, max_mask_overlap)
    image = as_array(image, model.config, orientation)
    outputs = model.predict_on_batch(image[None])
    count = int(outputs["num_detections"][0])
    kept = np.flatnonzero(np.asarray(outputs["scores"][0])[:count] >= score_threshold)
    found: dict[str, Any] = {
        name: np.asarray(outputs[name][0])[kept] for name in ("boxes", "scores", "labels")
    }
    if "masks" in outputs:
        found["masks"] = InstanceMasks.paste(
            np.asarray(outputs["masks"][0])[kept],
            found["boxes"],
            image.shape[:2],
            model.config.mask_paste,
        )
    if max_mask_overlap < 1 and "masks" in found:
        kept = without_overlaps(found["masks"], max_mask_overlap)
        found = {name: values[kept] for name, values in found.items()}
    if model.config.class_names:
        found["class_names"] = tuple(model.config.class_names)
    return found


def as_array(
    image: np.ndarray | Image.Image | Path,
    config: MaskRCNNConfig,
    orientation: Orientation = "ignore",
) -> np.ndarray:
    """Returns the pixels that a model takes, of an array, a PIL image or an image file.

    Args:
        image: as in `predict_image`.
        config: MaskRCNNConfig of the model.
        orientation: as in `predict_image`.

    Returns:
        (H, W, in_channels) of image_dtype.

    Raises:
        ValueError: if an array has another shape or dtype, or no pixel.
        DataError: if a file or a PIL image cannot be read, or has other bands.
    """
    reading = Reading(config.in_channels, config.image_dtype, orientation=orientation)
    if isinstance(image, str | os.PathLike):
        name = image
        image, remarks = read_with_remarks(name, None, reading)
        log_remarks({remark: [str(name)] for remark in remarks})
    elif isinstance(image, Image.Image):
        image = from_pillow(image, **reading.of_files(), orientation=orientation)
    elif not hasattr(image, "shape"):
        raise ValueError(
            f"image must be a {_expected(config)} array, a PIL image or a path. "
            f"Received: image={reprlib.repr(image)}."
        )
    image = np.asarray(image)
    if config.in_channels == 1 and image.ndim == 2:
        image = image[..., None]
    if config.image_dtype == "float32" and image.dtype.kind == "f":
        image = image.astype(np.float32, copy=False)
    wrong = image.ndim != 3 or image.shape[2] != config.in_channels
    if wrong or image.dtype != config.image_dtype or not image.size:
        raise ValueError(
            f"image must be a {_expected(config)} array of at least one pixel, a PIL image or a "
            f"path. Received: shape={image.shape}, dtype={image.dtype}."
        )
    return image


def _expected(config):
    """Returns the shape and dtype of images in words, and their white unless it is 255."""
    shape = f"(H, W, {config.in_channels}) {config.image_dtype}"
    if config.image_dtype == "uint8":
        return shape
    return f"{shape} (pixel_max={config.pixel_max:g} is white)"


def check_prediction(model: Any, score_threshold: float, max_mask_overlap: float) -> None:
    """Raises ValueError if a model cannot predict from images alone, or a share is none.

    Args:
        model: MaskRCNN or an exported model.
        score_threshold, max_mask_overlap: as in `predict_image`.
    """
    for name, value in (
        ("score_threshold", score_threshold),
        ("max_mask_overlap", max_mask_overlap),
    ):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in 0..1. Received: {name}={value!r}.")
    if model.config.task == "proposals" or model.config.proposals == "precomputed":
        raise ValueError(
            "the model must have an RPN and heads. Received: "
            f"task={model.config.task!r}, proposals={model.config.proposals!r}."
        )


def coco_results(
    outputs: Mapping[str, np.ndarray],
    index: int,
    image_id: int | str,
    height: int,
    width: int,
    category_ids: Sequence[int] = (),
    mask_paste: str = "detectron2",
) -> list[dict[str, Any]]:
    """Converts the detections of one image to COCO results.

    Args:
        outputs: dict of the outputs of `MaskRCNN` for a batch. Without `masks`, results have none.
        index: int in [0, B). The image's place in the batch.
        image_id: int or str. The image's id in the annotation file.
        height: int. Height of the original image. Boxes are in its pixels.
        width: int. Width of the original image.
        category_ids: sequence of int. The category id of a label is `category_ids[label - 1]`. If
            empty, it is the label.
        mask_paste: str. The rule of `ops.masks.paste`.

    Returns:
        list of dicts with "image_id", "category_id", "bbox" [x, y, w, h], "score" and, with masks,
            "segmentation", a compressed RLE. Empty without detections. All are plain Python values
            that `json.dumps` accepts.
    """
    count = int(outputs["num_detections"][index])
    boxes, scores, labels = (
        np.asarray(outputs[name][index])[:count] for name in ("boxes", "scores", "labels")
    )
    masks = None
    if "masks" in outputs:
        small_masks = np.asarray(outputs["masks"][index])[:count]
        masks = InstanceMasks.paste(small_masks, boxes, (height, width), mask_paste)
    found: dict[str, Any] = {"boxes": boxes, "scores": scores, "labels": labels}
    if masks is not None:
        found["masks"] = masks
    return results_of_image(found, {"image_id": image_id}, category_ids)


def results_of_image(
    found: Mapping[str, Any], place: Mapping[str, Any], category_ids: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Converts the detections of one image to COCO results.

    Args:
        found: mapping as from `predict_image` or `predict_large`.
        place: dict of the first entries of each result, such as "image_id".
        category_ids: as in `coco_results`.

    Returns:
        As `coco_results`.
    """
    place = {k: v.item() if isinstance(v, np.generic) else v for k, v in place.items()}
    masks, results = found.get("masks"), []
    for i, one in enumerate(zip(found["boxes"], found["scores"], found["labels"], strict=True)):
        results.append({**place, **coco_box(*one, category_ids)})
        if masks is not None:
            results[-1]["segmentation"] = masks.rle(i)
    return results


def coco_box(
    box: np.ndarray, score: float, label: int, category_ids: Sequence[int] = ()
) -> dict[str, Any]:
    """Converts one box to COCO's form.

    Args:
        box: (4,) float [x1, y1, x2, y2] in pixels.
        score: () float.
        label: () int in 1..C.
        category_ids: sequence of int. As in `coco_results`.

    Returns:
        dict of "category_id", "bbox" [x, y, w, h] and "score", plain Python values.
    """
    x1, y1, x2, y2 = np.asarray(box, np.float64).tolist()
    return {
        "category_id": int(category_ids[label - 1] if len(category_ids) else label),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": float(score),
    }
