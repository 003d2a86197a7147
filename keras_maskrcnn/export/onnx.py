"""Exports a model for ONNX Runtime, OpenVINO and other runtimes of ONNX files."""

import functools
import os
from collections.abc import Iterable

import keras
import numpy as np
from absl import logging

from keras_maskrcnn import files
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.export.calibration import check_calibration
from keras_maskrcnn.export.description import KEY, describe
from keras_maskrcnn.export.optimize import folded_copy
from keras_maskrcnn.export.portable_model import (
    export_portable,
    require_batch_size,
    require_image_size,
    require_new,
    require_portable,
    require_suffix,
)
from keras_maskrcnn.export.quantization import quantize
from keras_maskrcnn.export.with_tf2onnx import NEEDED, convert
from keras_maskrcnn.typing import Orientation, Path

OPSET = 18  # the lowest version that has every operation in the form that is written


def export_onnx(
    model: keras.Model,
    filepath: Path,
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    calibration: Path | Iterable[np.ndarray] | None = None,
    calibration_images: int = 100,
    orientation: Orientation = "ignore",
    opset_version: int = OPSET,
    verbose: bool = True,
) -> None:
    """Exports a model as an ONNX file with the operations RoiAlign and NonMaxSuppression.

    The input is `images`, (B, H, W, C) of the config's image_dtype in units of its pixel_max, of
    any size: uint8 (B, H, W, 3), RGB, by default. The file resizes, normalizes and pads them. With
    `image_size` the client resizes and pads, and the inputs are `images`, float32 (B, H, W, C) in
    units of pixel_max, padded with zeros on the right and below, and `sizes`, int32 (B, 2), height
    and width without padding.

    Outputs are those of `model.predict`, with boxes in pixels of `images`. Each network only gets
    the slots that are filled. With heads there are three more inputs, which have the config's
    values as defaults: `score_threshold` and `nms_iou`, float32 (1,), and `detections_per_image`,
    int64 (1,).

    The file's metadata has the key "keras_maskrcnn": a JSON text of classes, config and versions,
    see `description.describe`. docs/runtimes.md describes all of this.

    The export needs the package onnx, in the extra `onnx`; running the file does not. A network of
    your own with other layers than ours, or a stage of your own, also needs tf2onnx. With a stage
    of your own the file has no RoiAlign and is for one `image_size`.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write; the name must end with ".onnx".
        image_size: (height, width), multiples of config.padding_multiple; None for any size.
        batch_size: int. Images per request; None for any number.
        precision: "float32" or "int8". "int8" computes networks in 8 bits, apart from the last
            layer of each head, and the rest in float32. ONNX Runtime is faster with it if the
            processor has instructions for it (VNNI). It needs onnxruntime.
        calibration: the path of a folder of images, or an iterable of (H, W, C) arrays of the
            config's dtype. "int8" needs images like those that the model will get, but not those
            that it is scored on: the ranges of activations are taken from them.
        calibration_images: int. The most images to use: those of a folder are spread over it.
        orientation: what happens to the orientation tag (EXIF) of the files for calibration, as in
            `data.read_pixels`.
        opset_version: int. Version of ONNX' set of operations, at least 18.
        verbose: bool. Whether to print the path of the file.

    Raises:
        FileExistsError: if the file exists.
        ImportError: if onnx, onnxruntime or tf2onnx is needed and not installed.
        ValueError: if an option is not allowed, or the model takes proposals, has RoIPool, or has a
            stage of its own and no `image_size` is given. Also if nothing is found in the images
            for calibration.
        DataError: if the folder for calibration, or a file in it, cannot be read.
    """
    if precision == "bfloat16":
        raise ValueError(
            "ONNX Runtime has no convolutions in bfloat16 for CPUs; export for OpenVINO, or as a "
            "SavedModel. Received: precision='bfloat16'."
        )
    reading = Reading(**model.config.reading(), orientation=orientation)
    images = check_calibration(
        "onnx", ("float32", "int8"), precision, calibration, calibration_images, reading
    )
    if images is not None and (image_size, batch_size) != (None, None):
        raise ValueError(
            "an int8 file is for images of any size and number. "
            f"Received: image_size={image_size}, batch_size={batch_size}."
        )
    config, filepath = model.config, os.fspath(filepath)
    require_portable(config)
    if image_size is not None:
        require_image_size(config, image_size)
    if batch_size is not None:
        require_batch_size(batch_size)
    require_suffix(filepath, ".onnx", "an ONNX")
    require_new(filepath)
    if opset_version < OPSET:
        logging.warning("opset_version must be at least %d; the file gets this version.", OPSET)
        opset_version = OPSET
    try:
        import onnx

        if images is not None:
            import onnxruntime.quantization  # noqa: F401, so that the work is not in vain
        from keras_maskrcnn.export.native_onnx.model import build, foreign_part
    except ModuleNotFoundError as error:
        raise ImportError(f"ONNX needs {NEEDED}. Received: {error}.") from error
    part = foreign_part(model)
    if part:
        if image_size is None:
            raise ValueError(
                f"a model with its own class of {part} can only be exported for one image_size. "
                "Received: image_size=None."
            )
        export_portable(
            model,
            filepath,
            functools.partial(_convert, opset_version=opset_version),
            image_size=image_size,
            batch_size=batch_size or 1,
            verbose=verbose,
        )
        return
    description = describe(model, masks="soft", precision=precision)
    proto = build(
        folded_copy(model, "float32"),
        {KEY: description},
        image_size=image_size,
        batch_size=batch_size,
        opset=opset_version,
    )
    with files.replacing(filepath) as new:
        if images is None:
            onnx.save(proto, new)
        else:
            quantize(proto, new, images)
        require_new(filepath)  # another process may have written it meanwhile
    if verbose:
        size = "any size" if image_size is None else f"{image_size[0]} x {image_size[1]} pixels"
        print(f"Wrote {filepath} for {batch_size or 'any number of'} images of {size}.")


def _convert(function, signature, path, opset_version):
    """Writes a function with tf2onnx."""
    import onnx

    onnx.save(convert(function, signature, "ONNX", opset=opset_version), path)
