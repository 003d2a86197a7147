"""Exports a model for images of one size, with only the operations that other runtimes have."""

import functools
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn import files
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export.optimize import folded_copy
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops.portable import portable
from keras_maskrcnn.typing import Path, Tensors


class PortableModel(keras.Model):
    """A `MaskRCNN` for inference in float32, made of operations that ONNX and LiteRT have.

    Call: images, sizes -> the outputs of `MaskRCNN`, with boxes in pixels of `images`. The images
    are (B, H, W, C) float32 in units of config.pixel_max (RGB in 0..255 by default), padded with
    zeros at the right and bottom. The sizes are (B, 2) int32, height and width without padding.

    Args:
        model: a `MaskRCNN`. Its weights are copied.

    Raises:
        ValueError: if the model takes proposals, or has an operation without a portable form.
    """

    def __init__(self, model: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require_portable(model.config)
        self.model = folded_copy(model, "float32")
        self.built = True

    def call(self, images: tf.Tensor, sizes: tf.Tensor, training: bool = False) -> Tensors:
        images = image_ops.scale_pixels(images, self.model.config.pixel_max)
        inputs = {"images": images, "sizes": sizes, "original_sizes": sizes}
        with portable():
            return self.model(inputs, training=training)


def export_portable(
    model: keras.Model,
    filepath: Path,
    write: Callable[[Any, list[tf.TensorSpec], str], None],
    *,
    image_size: tuple[int, int],
    batch_size: int,
    verbose: bool,
) -> None:
    """Makes a `PortableModel` and writes it to a new file.

    Keras' exporters are not used: that of Keras 3.13 for LiteRT takes no model that is a subclass.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write.
        write: function of a tf.function, the specs of its inputs and a path. It traces and
            converts the function, and writes the file.
        image_size: (height, width), multiples of config.padding_multiple.
        batch_size: int. Images per request.
        verbose: bool. Whether to print the path of the file.

    Raises:
        FileExistsError: if the file exists.
        ValueError: as in `PortableModel`, or if `image_size` or `batch_size` is not allowed.
    """
    require_image_size(model.config, image_size)
    require_batch_size(batch_size)
    filepath = os.fspath(filepath)
    require_new(filepath)
    signature = [
        tf.TensorSpec(
            [batch_size, *image_size, model.config.in_channels], tf.float32, name="images"
        ),
        tf.TensorSpec([batch_size, 2], tf.int32, name="sizes"),
    ]
    portable_model = PortableModel(model)

    @functools.partial(tf.function, autograph=False)
    def detect(images, sizes):
        return portable_model(images, sizes, training=False)

    with files.replacing(filepath) as new:
        write(detect, signature, new)
        require_new(filepath)  # another process may have written it meanwhile
    if verbose:
        print(f"Wrote {filepath} for {batch_size} x {image_size[0]} x {image_size[1]} images.")


def require_portable(config: MaskRCNNConfig) -> None:
    """Raises ValueError if other runtimes cannot run a model with this config."""
    if config.proposals == "precomputed":
        raise ValueError(
            "the model must have an RPN, because other runtimes take only images. "
            f"Received: proposals={config.proposals!r}."
        )
    if config.roi_op == "pool":
        raise ValueError(
            "roi_op must not be 'pool', because RoIPool has no portable form. "
            f"Received: roi_op={config.roi_op!r}."
        )


def require_image_size(config: MaskRCNNConfig, image_size: tuple[int, int]) -> None:
    """Raises ValueError if a model with this config takes no images of this size."""
    multiple = config.padding_multiple
    if len(image_size) != 2 or any(side < 1 or side % multiple for side in image_size):
        raise ValueError(
            f"image_size must be height and width, positive multiples of {multiple}. "
            f"Received: image_size={tuple(image_size)}."
        )


def require_batch_size(batch_size: int) -> None:
    """Raises ValueError if a batch cannot have this size."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive. Received: batch_size={batch_size}.")


def require_suffix(filepath: Path, suffix: str, kind: str) -> None:
    """Raises ValueError if the name of a file of this kind does not end with `suffix`."""
    if not os.fspath(filepath).endswith(suffix):
        raise ValueError(
            f"the name of {kind} file must end with {suffix!r}. Received: filepath={filepath!r}."
        )


def require_new(filepath: str) -> None:
    """Raises FileExistsError if a file is there."""
    if os.path.exists(filepath):
        raise FileExistsError(f"the export needs a new file. Received: filepath={filepath!r}.")
