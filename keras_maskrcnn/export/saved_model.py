"""Exports a SavedModel that takes pixels or encoded images, and needs only TensorFlow to run."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf

from keras_maskrcnn import files
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.export import warmup
from keras_maskrcnn.export.description import describe
from keras_maskrcnn.export.optimize import inference_function
from keras_maskrcnn.export.requests import why_not_encoded
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
    """Exports a model for TensorFlow Serving; docs/serving.md is the contract with clients.

    The SavedModel has three signatures:

    - `serving_default` takes `images` (B, H, W, C) of the config's image_dtype, in units of its
      pixel_max: uint8 (B, H, W, 3) by default.
    - `serve_image_bytes` takes `image_bytes`, string (B,), JPEG or PNG files of any sizes. EXIF
      orientation is ignored, as in training. It is left out if such files cannot hold the pixels of
      the config.
    - `describe` has no inputs. It returns `class_names` (C,), `category_ids` (C,) and
      `description`, a JSON text with config, thresholds, options and versions. The file
      `assets.extra/model.json` has the same text.

    The first two resize the images, and return the outputs of `model.predict` with boxes in pixels
    of each original image. With proposals="precomputed" they also take `proposals`, float32
    (B, config.test_proposals, 4), in the same pixels, padded with zeros.

    The folder gets its name once it is complete. Thresholds, sizes and the number of detections
    are those of the config. To change them: `model.with_config(score_threshold=0.5).export(...)`.

    Args:
        model: a `MaskRCNN`.
        filepath: str. A new or empty folder; for TensorFlow Serving its name must be a number.
        masks: "soft", "binary" or "rle". "soft" gives `masks` (B, D, m, m) float32 in their boxes,
            as `model.predict` does. The others paste masks into their images and threshold them at
            0.5, as `predict_image` does. They add `sizes` (B, 2) int32, height and width of the
            images. "binary" gives `masks` (B, D, H, W) uint8, with the greatest height and width in
            the batch. "rle" gives `rle` (B, D) string, COCO's compressed counts.
        precision: None keeps the model's. "float32" computes in float32. "bfloat16" stores weights
            and computes networks in bfloat16; boxes, NMS and RoIAlign stay float32. "int8" stores
            kernels in 8 bits: a quarter of the size, but each request converts them back and
            computes in float32.
        max_pixels: int. Requests with more pixels, in all their images together, are refused.
        warmup_sizes: sequence of (height, width). TensorFlow Serving runs the model on an image of
            each size before it serves. None: one size that needs no resizing. Empty: no warmup.
        verbose: bool. Whether to print the path of the folder.

    Raises:
        FileExistsError: if `filepath` is a file, or a folder that is not empty.
        ValueError: if an option is not allowed, or the model has no masks to paste.
    """
    filepath, config = os.path.normpath(filepath), model.config
    if warmup_sizes is None:
        warmup_sizes = [(config.image_min_side, config.image_max_side)]
    _check_options(config, masks, max_pixels, warmup_sizes)
    _check_folder(filepath)
    forward = inference_function(model, precision)
    reason = why_not_encoded(config.in_channels, config.image_dtype)
    options = {"masks": masks, "precision": precision, "max_pixels": max_pixels}
    description = describe(model, **options, encoded_images=not reason)  # type: ignore[arg-type]
    with _new_folder(filepath) as folder:
        signatures = trace_signatures(forward, config, masks, max_pixels, description)
        _write(signatures, folder)
        extra = os.path.join(folder, "assets.extra")
        os.makedirs(extra)
        with open(os.path.join(extra, "model.json"), "w", encoding="utf-8") as file:
            file.write(description)
        if warmup_sizes:
            given = config.test_proposals if config.proposals == "precomputed" else 0
            warmup.write_warmup(extra, warmup_sizes, given, **config.reading())
    if verbose:
        print(f"Wrote a SavedModel to {filepath} ({', '.join(signatures)}).")
        if reason:
            print(f"It has no signature serve_image_bytes: {reason}.")


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


@contextlib.contextmanager
def _new_folder(filepath):
    """Yields the path of a folder to create and fill; it is then renamed to `filepath`.

    After an error, the unfinished folder is deleted.
    """
    final = os.path.realpath(filepath)
    unfinished = files.unfinished(final)  # not a number, so that no server loads it as a version
    try:
        yield unfinished
        try:
            os.rename(unfinished, final)
        except OSError as error:
            if not os.path.exists(final):
                raise
            raise FileExistsError(
                f"another process has filled the folder meanwhile. Received: filepath={filepath!r}."
            ) from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _write(signatures, folder):
    """Writes a SavedModel; the same signatures give the same bytes."""
    # keras.export.ExportArchive is not used: it writes variables in the random order of a set.
    module, seen = tf.Module(), {}
    for function in signatures.values():
        places = {id(handle): i for i, handle in enumerate(function.captured_inputs)}
        for variable in sorted(function.variables, key=lambda v: places[id(v.handle)]):
            seen[id(variable)] = variable
    module.kept = list(seen.values())
    tf.saved_model.save(module, folder, signatures)
