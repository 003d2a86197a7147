"""Writes a SavedModel that takes images or encoded images and needs only TensorFlow."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf

from keras_maskrcnn import files
from keras_maskrcnn._version import __version__
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.export import warmup
from keras_maskrcnn.export.optimize import inference_function
from keras_maskrcnn.export.signatures import trace_signatures
from keras_maskrcnn.typing import Path

MASKS = ("soft", "binary", "rle")


def export_saved_model(
    model: keras.Model,
    filepath: Path,
    *,
    masks: Literal["soft", "binary", "rle"] = "soft",
    precision: str | None = None,
    max_pixels: int = MAX_PIXELS,
    warmup_sizes: Sequence[tuple[int, int]] | None = None,
    verbose: bool = True,
) -> None:
    """Exports a model for TensorFlow Serving; docs/serving.md is its contract with clients.

    Signatures: `serving_default` takes `images`, uint8 (B, H, W, 3); `serve_image_bytes` takes
    `image_bytes`, string (B,), JPEG or PNG, whose sizes may differ. EXIF orientation is ignored,
    as in training. Both resize inside, and give what `model.predict` gives, with boxes in pixels
    of each original image. With proposals="precomputed" both also take `proposals`, float32
    (B, config.test_proposals, 4), in those pixels, zeros in padding. `describe` takes nothing, and
    gives `class_names` (C,), `category_ids` (C,) and `description`, the JSON text that also lies in
    `assets.extra/model.json`: config, thresholds, options and versions.

    The folder gets its name when all of it is written. Thresholds, sizes and numbers of detections
    are those of the config: `model.with_config(score_threshold=0.5).export(...)`.

    Args:
        model: a `MaskRCNN`.
        filepath: str. A folder; for TensorFlow Serving its name is a number.
        masks: "soft": `masks` (B, D, m, m) float32 in their boxes, as `model.predict` gives. Or
            pasted into their images and cut at 0.5, as `predict_image` does, with `sizes` (B, 2)
            int32, height and width of the images: "binary": `masks` (B, D, H, W) uint8, as high
            and wide as the largest image; "rle": `rle` (B, D) string, COCO's compressed counts.
        precision: None, "float32", "bfloat16" or "int8", as in `optimize.inference_function`.
        max_pixels: int. A request whose images have more of them together is refused.
        warmup_sizes: sequence of (height, width), of the images that TensorFlow Serving tries
            before it serves; None: one that needs no resizing. Empty: none are written.
        verbose: bool. Whether to print where it went.

    Raises:
        FileExistsError: if `filepath` is a folder with something in it.
        ValueError: if an option is none of these, or the model has no masks to paste.
    """
    filepath, config = os.path.normpath(filepath), model.config
    if warmup_sizes is None:
        warmup_sizes = [(config.image_min_side, config.image_max_side)]
    _check_options(config, masks, max_pixels, warmup_sizes)
    _check_folder(filepath)
    forward = inference_function(model, precision)
    description = _describe(model, masks, precision, max_pixels)
    with _new_folder(filepath) as folder:
        _write(trace_signatures(forward, config, masks, max_pixels, description), folder)
        extra = os.path.join(folder, "assets.extra")
        os.makedirs(extra)
        with open(os.path.join(extra, "model.json"), "w", encoding="utf-8") as file:
            file.write(description)
        if warmup_sizes:
            given = config.test_proposals if config.proposals == "precomputed" else 0
            warmup.write_warmup(extra, warmup_sizes, given)
    if verbose:
        print(f"Wrote a SavedModel to {filepath} (serving_default, serve_image_bytes, describe).")


def _check_options(config, masks, max_pixels, warmup_sizes):
    if masks not in MASKS:
        raise ValueError(f"masks must be one of {', '.join(MASKS)}. Received: masks={masks!r}.")
    if masks != "soft" and config.task != "masks":
        raise ValueError(
            f"masks must be 'soft' for a model without masks. Received: masks={masks!r}."
        )
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be positive. Received: max_pixels={max_pixels!r}.")
    for size in warmup_sizes:
        if len(size) != 2 or min(size) < 1 or size[0] * size[1] > max_pixels:
            raise ValueError(
                f"warmup_sizes must be (height, width), of at most {max_pixels} pixels."
                f" Received: warmup_sizes={warmup_sizes!r}."
            )


def _check_folder(filepath):
    if os.path.isfile(filepath) or os.path.isdir(filepath) and os.listdir(filepath):
        raise FileExistsError(
            f"the export needs a new or empty folder. Received: filepath={filepath!r}."
        )


def _describe(model, masks, precision, max_pixels):
    """Returns the JSON text that `describe` gives and assets.extra/model.json holds."""
    content = {
        "class_names": model.config.names(),
        "category_ids": model.config.ids(),
        "masks": masks,
        "precision": precision or model.compute_dtype,
        "max_pixels": max_pixels,
        "config": dataclasses.asdict(model.config),
        "keras_maskrcnn": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
    return json.dumps(content, indent=1)


@contextlib.contextmanager
def _new_folder(filepath):
    """Yields the path of a folder to make and fill, which then gets the name `filepath`.

    After an error nothing is left of it.
    """
    final = os.path.realpath(filepath)
    unfinished = files.unfinished(final)  # which no server takes for a version's number
    try:
        yield unfinished
        try:
            os.rename(unfinished, final)
        except OSError as error:
            if not os.path.exists(final):
                raise
            raise FileExistsError(
                f"somebody else has filled the folder meanwhile. Received: filepath={filepath!r}."
            ) from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _write(signatures, folder):
    """Writes a SavedModel, the same bytes for the same signatures."""
    # keras.export.ExportArchive would write them, with the variables in the order of a set.
    module, seen = tf.Module(), {}
    for function in signatures.values():
        places = {id(handle): i for i, handle in enumerate(function.captured_inputs)}
        for variable in sorted(function.variables, key=lambda v: places[id(v.handle)]):
            seen[id(variable)] = variable
    module.kept = list(seen.values())
    tf.saved_model.save(module, folder, signatures)
