"""Checks and decodes the requests of clients with TensorFlow operations.

A bad request fails with an error of one line that names the image and the reason, before memory is
allocated for the image. Only JPEG and PNG are accepted, because TensorFlow decodes these as
`data.images` does. It allocates all frames of a GIF before their size is known, and reads a BMP's
palette indices as gray levels.
"""

import functools

import numpy as np
import tensorflow as tf

from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.typing import Tensors

_PNG_HEADER = np.frombuffer(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ">i4").astype(np.int32)
_LUMA = (19595, 38470, 7471)  # Pillow's weights of R, G and B in gray, times 65536
MASK_BYTES = 2**31 - 1  # the most that one gRPC message can hold


def why_not_encoded(channels: int, image_dtype: str) -> str:
    """Says why a model cannot take encoded images; "" if it can.

    TensorFlow decodes PNGs of 8 and 16 bits, and JPEGs of 8. It decodes no PNG of two bands.

    Args:
        channels: int. As in `config.reading()`.
        image_dtype: str. As in `config.reading()`.
    """
    if image_dtype == "float32" or channels not in (1, 3, 4):
        return (
            "JPEG and PNG files, as TensorFlow decodes them, hold 1, 3 or 4 bands of 8 or 16 bits, "
            f"not {channels} of {image_dtype}"
        )
    return ""


def check_images(images: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Returns a request's images (B, H, W, C); fails if they are empty, too large or not finite."""
    shape = tf.shape(images, tf.int64)
    empty = "images must hold at least one pixel. Received: shape={}."
    large = f"the images of a request have at most {max_pixels} pixels. Received: shape={{}}."
    checks = [
        (tf.reduce_all(shape > 0), tf.strings.format(empty, shape, summarize=-1)),
        (
            tf.reduce_prod(shape[:3]) <= max_pixels,
            tf.strings.format(large, shape, summarize=-1),
        ),
    ]
    if images.dtype.is_floating:
        finite = tf.reduce_all(tf.math.is_finite(images))
        checks.append((finite, "images must be finite. Received: NaN or infinity."))
    return _checked(images, checks)


def check_proposals(proposals: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Returns a request's proposals (B, P, 4); fails if they are not for B images or not finite."""
    given = tf.shape(proposals)[0]
    text = "proposals must be for {} images. Received: proposals for {}."
    text = tf.strings.format(text, [batch, given])
    finite = tf.reduce_all(tf.math.is_finite(proposals))
    return _checked(
        proposals,
        [
            (tf.equal(given, batch), text),
            (finite, "proposals must be finite. Received: NaN or infinity."),
        ],
    )


def check_masks(sizes: tf.Tensor, count: int) -> tf.Tensor:
    """Returns the images' sizes (B, 2); fails if full-size masks would not fit into a message."""
    batch, slots = tf.shape(sizes, tf.int64)[0], tf.constant(count, tf.int64)
    size = tf.reduce_max(tf.cast(sizes, tf.int64), axis=0)
    text = tf.strings.format(
        f"the masks of a request have at most {MASK_BYTES} bytes; send fewer or smaller images. "
        "Received: shape=[{}, {}, {}, {}].",
        [batch, slots, size[0], size[1]],
    )
    return _checked(sizes, [(batch * slots * tf.reduce_prod(size) <= MASK_BYTES, text)])


def decode_images(
    image_bytes: tf.Tensor,
    min_side: int,
    max_side: int,
    rule: str,
    padding_multiple: int,
    max_pixels: int,
    *,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float = 255.0,
) -> Tensors:
    """Decodes, resizes and pads the encoded images of a request; fails if one cannot be read.

    Files are read as `data.read_pixels` reads them: gray is repeated for three channels, colors
    become gray for one, and alpha counts only as the fourth of four.

    Args:
        image_bytes: (B,) string. JPEG or PNG files, whose sizes may differ. For uint16 they must be
            PNGs of 16 bits, for four channels PNGs with alpha.
        min_side, max_side, rule: as in `ops.images.resized_size`.
        padding_multiple: as in `ops.images.pad_to_multiple`.
        max_pixels: int. Limit of the pixels of all images together, by their headers.
        channels: int C. As in `config.reading()`.
        image_dtype: str. As in `config.reading()`.
        pixel_max: float. As in `config.reading()`.

    Returns:
        dict, the inputs of a model: images (B, H, W, C) float32, padded to the greatest resized
            height and width; sizes and original_sizes (B, 2) int32.
    """
    dtype = tf.as_dtype(image_dtype)
    image_bytes, stored_sizes = _check_headers(image_bytes, max_pixels, channels, dtype)
    pixels = functools.partial(_pixels, channels=channels, dtype=dtype)
    nothing = np.zeros((0, 0, channels), dtype.as_numpy_dtype)
    whole = image_ops.are_whole(image_dtype, pixel_max)

    def decode(element):
        position, data, stored = element
        image = _unless_broken(pixels, data, nothing)
        text = tf.strings.format("image_bytes[{}] is broken or cut off.", position)
        image = _checked(image, [(tf.reduce_all(tf.shape(image)[:2] == stored), text)])
        image = image_ops.scale_pixels(image, pixel_max)
        resized = image_ops.resize(image, min_side, max_side, rule, whole)
        return tf.RaggedTensor.from_tensor(resized), tf.shape(resized)[:2]

    positions = tf.range(tf.size(image_bytes))
    specs = (
        tf.RaggedTensorSpec([None, None, channels], tf.float32, ragged_rank=1),
        tf.TensorSpec([2], tf.int32),
    )
    images, sizes = tf.map_fn(
        decode, (positions, image_bytes, stored_sizes), fn_output_signature=specs
    )
    images = image_ops.pad_to_multiple(images.to_tensor(), padding_multiple)
    return {"images": images, "sizes": sizes, "original_sizes": stored_sizes}


def _check_headers(image_bytes, max_pixels, channels, dtype):
    """Returns the encoded images, and their sizes (B, 2) int32 read from their headers."""
    # The first 24 bytes of a PNG: signature, length and name of the first chunk, width, height.
    words = tf.io.decode_raw(image_bytes, tf.int32, little_endian=False, fixed_length=24)
    is_png = tf.reduce_all(words[:, :4] == _PNG_HEADER, axis=1)
    png_sizes = tf.where(is_png[:, None], tf.reverse(words[:, 4:], axis=[1]), 0)

    def read(element):
        data, png_size = element
        return tf.cond(
            tf.io.is_jpeg(data),
            lambda: _unless_broken(_jpeg_size, data, np.zeros(2, np.int32)),
            lambda: png_size,
        )

    sizes = tf.map_fn(
        read, (image_bytes, png_sizes), fn_output_signature=tf.TensorSpec([2], tf.int32)
    )
    total = tf.cumsum(tf.reduce_prod(tf.cast(sizes, tf.int64), axis=1))
    image_bytes = _checked(
        image_bytes,
        [
            (tf.size(image_bytes) > 0, "image_bytes must hold at least one image."),
            _each(tf.strings.length(image_bytes) > 0, "image_bytes{} is empty."),
            _each(
                tf.reduce_all(sizes > 0, axis=1),
                "image_bytes{} is neither a JPEG nor a PNG, or its header is broken.",
            ),
            *_check_kinds(image_bytes, is_png, channels, dtype),
            _each(
                total <= max_pixels,
                "image_bytes{} is too large: the images of a request have at most "
                f"{max_pixels} pixels. Received: size={{}}.",
                sizes,
            ),
        ],
    )
    return image_bytes, sizes


def _jpeg_size(data):
    return tf.io.extract_jpeg_shape(data)[:2]


def _check_kinds(image_bytes, is_png, channels, dtype):
    """Makes the checks of files that must be PNGs of one kind."""
    header = tf.io.decode_raw(image_bytes, tf.uint8, fixed_length=26)
    bits, kind = header[:, 24], header[:, 25]
    checks = []
    if dtype == tf.uint16:  # nothing says which value of 8 bits would be white
        checks.append(_each(is_png & (bits == 16), "image_bytes{} must be a PNG of 16 bits."))
    if channels == 4:
        alpha = is_png & (kind == 6)
        checks.append(_each(alpha, "image_bytes{} must be a PNG of 4 bands (RGB and alpha)."))
    return checks


def _pixels(data, channels, dtype):
    """Decodes a JPEG or PNG to (H, W, C), as stored; the EXIF orientation is ignored."""
    decoded = 4 if channels == 4 else 3

    def png(dtype=dtype):
        return tf.io.decode_png(data, channels=decoded, dtype=dtype)

    def jpeg():
        # Training decodes images with Pillow, which uses the accurate DCT.
        return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")

    def gray_png():  # the high byte of the gray of 16 bits, as `data.read_pixels`
        bits = tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)
        deep = tf.reduce_all(bits == 16)
        return tf.cond(
            deep, lambda: tf.cast(_gray(png(tf.uint16)) // 256, dtype), lambda: _gray(png())
        )

    if channels == 4 or dtype == tf.uint16:
        image = _gray(png()) if channels == 1 else png()
    elif channels == 1:
        image = tf.cond(tf.io.is_jpeg(data), lambda: _gray(jpeg()), gray_png)
    else:
        image = tf.cond(tf.io.is_jpeg(data), jpeg, png)
    return tf.ensure_shape(image, [None, None, channels])


def _gray(image):
    """Makes gray of colors as Pillow does: (H, W, 3) -> (H, W, 1). Gray stays as it is."""
    total = tf.reduce_sum(tf.cast(image, tf.int64) * _LUMA, axis=2, keepdims=True)
    return tf.cast((total + 2**15) // 2**16, image.dtype)


def _unless_broken(function, data, otherwise):
    """Returns function(data), or `otherwise` if that fails.

    A decoder's error does not say which image of the batch failed. Inside a graph, only tf.data
    can go on after such an error.
    """
    found = tf.data.Dataset.from_tensors(data).map(function).ignore_errors()
    either = found.concatenate(tf.data.Dataset.from_tensors(otherwise))
    return either.take(1).get_single_element()


def _each(valid, text, *values):
    """Makes a check of all images; its text names the first image that fails."""
    failing = [tf.where(~valid)[:, 0], *(tf.boolean_mask(value, ~valid) for value in values)]
    # Slices are safe when no image fails. One number prints as [3], one size as [20 30].
    return tf.reduce_all(valid), tf.strings.format(text, [tf.reshape(x[:1], [-1]) for x in failing])


def _checked(value, checks):
    """Returns `value` after `checks`, which are pairs of a condition and its error's text."""
    done: list[tf.Operation] = []
    for condition, text in checks:
        with tf.control_dependencies(done):  # in this order, so that the first reason is reported
            done = [tf.debugging.Assert(condition, [text])]
    with tf.control_dependencies(done):
        return tf.identity(value)
