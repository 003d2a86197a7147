"""Turns plain images into a batch of the form that `data.batches` makes."""

from collections.abc import Mapping

import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.pixel_checks import check_form
from keras_maskrcnn.typing import Tensors


def as_batch(
    inputs: tf.Tensor | Mapping[str, tf.Tensor],
    *,
    min_side: int,
    max_side: int,
    resize_rule: str,
    padding_multiple: int,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float = 255.0,
    proposals: bool = False,
) -> Tensors:
    """Scales, resizes and pads plain images. Returns a batch of `data.batches` unchanged.

    Args:
        inputs: (B, H, W, C) in units of pixel_max: uint8 or float in 0..255, with other values of
            `image_dtype` as that says. Or a dict with these as "images" and, if the model needs
            them, "proposals": (B, P, 4) float32, in pixels of the images. Or a batch of
            `data.batches`: a dict that also has "sizes" and "original_sizes".
        min_side: int. As in `config.resizing()`.
        max_side: int. As in `config.resizing()`.
        resize_rule: str. As in `config.resizing()`.
        padding_multiple: int. As in `config.resizing()`.
        channels: int C. As in `config.reading()`.
        image_dtype: str. As in `config.reading()`.
        pixel_max: float. As in `config.reading()`.
        proposals: bool. Whether the model needs proposals.

    Returns:
        dict of images (B, H', W', C) float32 in 0..255, and of sizes and original_sizes (B, 2)
            int32 [height, width]. If needed also proposals (B, P, 4) float32, in pixels of the
            resized images.

    Raises:
        ValueError: if a tensor is missing, or images have another shape or dtype.
    """
    if not isinstance(inputs, dict):
        inputs = {"images": inputs}
    needed = {"images", "proposals"} if proposals else {"images"}
    if set(inputs) != needed:  # a batch of `data.batches`
        needed |= {"sizes", "original_sizes"}
    missing = needed - set(inputs)
    if missing:
        raise ValueError(f"inputs lack {sorted(missing)}. Received: {sorted(inputs)}.")
    reading = {"channels": channels, "image_dtype": image_dtype, "pixel_max": pixel_max}
    if "sizes" in needed:
        images = inputs["images"]
        if hasattr(images, "shape"):
            spec = tf.TensorSpec(images.shape, images.dtype)
            check_form(spec, **reading, batch=True)  # type: ignore[arg-type]
        return inputs
    images = tf.convert_to_tensor(inputs["images"])
    check_form(images, **reading)  # type: ignore[arg-type]
    images = tf.ensure_shape(images, [None, None, None, channels])
    original = tf.shape(images)[1:3]
    images = image_ops.scale_pixels(images, pixel_max)
    whole = image_ops.are_whole(image_dtype, pixel_max)
    images = image_ops.resize(images, min_side, max_side, resize_rule, whole)
    rows = [tf.shape(images)[0], 1]
    batch = {
        "sizes": tf.tile(tf.shape(images)[None, 1:3], rows),
        "original_sizes": tf.tile(original[None], rows),
        "images": image_ops.pad_to_multiple(images, padding_multiple),
    }
    if proposals:
        batch["proposals"] = box_ops.rescale(
            inputs["proposals"], batch["original_sizes"], batch["sizes"]
        )
    return batch
