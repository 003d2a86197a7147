"""Refuses images that a model cannot take, by their shape, dtype and pixels.

The checks of pixels are TensorFlow operations, which also work in a graph.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_BEYOND = 256  # how far contrast and brightness may go beyond 0..255 if nothing clips
_LIMITS = {"uint8": 255, "uint16": 65535}  # the largest pixel; float32 has none


def check_form(
    images: Any,
    *,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float = 255.0,
    batch: bool = False,
) -> None:
    """Raises ValueError if the shape or dtype of a tensor or TensorSpec is not that of images.

    Args:
        images: tensor or TensorSpec.
        channels, image_dtype, pixel_max: as in `MaskRCNNConfig.reading`.
        batch: bool. Whether they are those of a batch of `data.batches`, with pixels in 0..255.
    """
    shape, dtype, plain = images.shape, images.dtype, not batch
    white = f"pixel_max={pixel_max:g} is white"
    if not (dtype.is_integer or dtype.is_floating):
        kind = "uint8, or float in 0..255" if image_dtype == "uint8" else image_dtype
        raise ValueError(f"images must be {kind}. Received: dtype={dtype.name}.")
    if plain and image_dtype == "uint16" and dtype in (tf.uint8, tf.int8):
        raise ValueError(
            f"images must be uint16 for this model: {white}, so 8 bits would be nearly black; "
            f"multiply them by {pixel_max / 255:g}. Received: dtype={dtype.name}."
        )
    if plain and image_dtype == "float32" and dtype.is_integer:
        raise ValueError(
            f"images must be float32 for this model: {white}, so multiply them by pixel_max / "
            f"their white. Received: dtype={dtype.name}."
        )
    if shape.rank == 4 and 0 in shape[1:3]:
        raise ValueError(f"images must hold at least one pixel. Received: shape={shape}.")
    if shape.rank is not None and (shape.rank != 4 or shape[-1] not in (channels, None)):
        rgb = ", RGB" if channels == 3 else f" with in_channels={channels}"
        raise ValueError(
            f"images must be (B, H, W, {channels}){rgb}{_hint(shape, channels)}. "
            f"Received: shape={shape}."
        )


def _hint(shape, channels):
    """Returns what to do with images of another shape: "; ...", or "" if nobody knows."""
    if shape.rank == 3 and shape[-1] == channels:
        return "; for one image use images[None], for a tf.data.Dataset its batch(...)"
    if channels == 1 and shape.rank == 3:
        return "; for gray images without this axis use images[..., None]"
    if shape.rank == 4 and shape[-1] == 4 and channels == 3:
        return (
            "; for 4 bands make a model with in_channels=4, to remove the transparency use "
            "images[..., :3]"
        )
    if channels == 3 and (shape.rank == 3 or shape.rank == 4 and shape[-1] == 1):
        return "; for gray images make a model with in_channels=1, or repeat each value three times"
    if shape.rank == 4:
        return f"; for such images make a model with in_channels={shape[-1]}"
    return ""


def check_images(
    images: tf.Tensor,
    finite: bool = True,
    *,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float = 255.0,
    batch: bool = False,
) -> tf.Tensor:
    """Checks images.

    Args:
        images: (B, H, W, C) tensor.
        finite: bool. Whether pixels must be finite. If not, images with NaN or infinity pass.
        channels, image_dtype, pixel_max, batch: as in `check_form`.

    Returns:
        The same images. They are available once the checks have passed.

    Raises:
        ValueError: if the rank, the number of channels or the dtype is wrong.
        tf.errors.InvalidArgumentError: if there are no pixels, or they are not in the range of
            their dtype, as 0..255. The operation raises it, see `checks.plain_errors`.
    """
    given = {"channels": channels, "image_dtype": image_dtype, "pixel_max": pixel_max}
    check_form(images, **given, batch=batch)  # type: ignore[arg-type]
    shape = tf.shape(images)
    some = tf.reduce_all(shape[1:] > 0), "images must hold at least one pixel.", {"shape": shape}
    free = batch and image_dtype != "uint8" or image_dtype == "float32"
    limit = 255 if batch else _LIMITS.get(image_dtype, 0)
    if images.dtype == tf.uint8 or images.dtype.is_integer and images.dtype.max == limit:
        return ensure(images, [some])
    whole, passes = images.dtype.is_integer, tf.size(images) == 0
    pixels = tf.cast(images, tf.int64 if whole else tf.float32)
    low, high = tf.reduce_min(pixels), tf.reduce_max(pixels)  # NaN if there is one
    checks, beyond, expected = [], 0, f"images must be in 0..{limit}"
    if channels == 3 and limit == 255:
        expected = "images must be RGB in 0..255"
    if not whole:
        beyond, numbers = _BEYOND * limit // 255, tf.math.is_finite(low) & tf.math.is_finite(high)
        checks = [(numbers, "pixels must be finite.")]
        passes |= ~numbers & (not finite)
    if not whole and not free:
        checks += _mistakes(pixels, low, high, limit, expected)
    if whole or not free:
        inside = (low >= -beyond) & (high <= limit + beyond)
        checks.append((inside, f"{expected}."))
    received = {"dtype": images.dtype.name, "minimum": low, "maximum": high}
    return ensure(images, [some, *((ok | passes, text, received) for ok, text in checks)])


def _mistakes(pixels, low, high, limit, expected):
    """Makes checks for pixels that were scaled or normalized; `limit` is the largest pixel."""
    unit = limit / 255
    ones = (high > 0) & (high <= 1)
    # Normalized images reach about as far above 0 as below. A dark image that augmentation or
    # interpolation took below 0 does not. Subtracting a mean keeps the range of values below
    # 256; a change of contrast widens it.
    normalized = (low < -0.5) & (low > -8) & (high < tf.minimum(8.0, -3 * low))
    centered = (low < -64 * unit) & (high - low < 256 * unit)
    # The values of a dark photograph are whole numbers.
    ones = tf.cond(
        ones, lambda: tf.reduce_any(pixels != tf.round(pixels)), lambda: tf.constant(False)
    )
    return [
        (~ones, f"{expected}, not in 0..1: multiply them by {limit}."),
        (~normalized, f"{expected}, not normalized."),
        (~centered, f"{expected}, without a mean subtracted."),
    ]


def ensure(value: Any, checks: Sequence[tuple[tf.Tensor, str, Any]]) -> Any:
    """Returns a value after checks. Checks that hold cost next to nothing.

    Args:
        value: nested tensors.
        checks: list of tuples of three: a () bool tensor; a sentence that says what is expected;
            and a dict for the message's "Received". It maps a name to a tensor, to a function that
            makes a tensor, or to a str.

    Returns:
        The value. If checks fail, the operation raises tf.errors.InvalidArgumentError for the first
            of them, see `plain_errors`.
    """
    if not checks:
        return value

    def refuse():
        done: list[tf.Operation] = []
        for ok, text, received in checks:
            names = ", ".join(
                f"{n}={x}" if isinstance(x, str) else f"{n}={{}}" for n, x in received.items()
            )
            values = [x for x in received.values() if not isinstance(x, str)]
            values = [x() if callable(x) else x for x in values]
            with tf.control_dependencies(done):  # the first check that fails is the one reported
                line = tf.strings.format(f"{text} Received: {names}.", values)
                done = [tf.raw_ops.Assert(condition=ok, data=[line])]
        with tf.control_dependencies(done):
            return tf.constant(False)

    every = tf.reduce_all(tf.stack([ok for ok, *_ in checks]))
    done = tf.cond(every, lambda: tf.constant(True), refuse)
    with tf.control_dependencies([done]):
        return tf.nest.map_structure(tf.identity, value)
