"""Helpers of `predict` and `explain`, which write a picture per image."""

import collections
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags, logging

from keras_maskrcnn.cli import paths
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.bands import MAX_CHANNELS


def look_flags(define: Definer) -> None:
    """Defines --bands and --stretch."""
    define.list(
        "bands",
        None,
        "Bands that pictures show as red, green and blue, such as 4,3,2. They count from 1. One "
        "band is gray. Default: the first three.",
    )
    define.list(
        "stretch",
        None,
        "What pictures show as black and white. 2,98: these percentiles of each band. "
        "values,0,4095: these values. none: 0 and pixel_max, as the model sees them. Default: none "
        "for 8 bits, 2,98 for all others.",
    )


def check_look(options: flags.FlagValues) -> None:
    """Raises ValueError for --bands or --stretch that fit no image, before a model is loaded.

    Args:
        options: the flags' values; `bands` and `stretch` are used.
    """
    from keras_maskrcnn.visualize.look import checked_bands, checked_stretch

    checked_bands(options.bands, MAX_CHANNELS)
    if options.stretch != ["none"]:
        checked_stretch(options.stretch)


def look(options: flags.FlagValues, config: MaskRCNNConfig) -> dict[str, Any]:
    """Returns the arguments `bands` and `stretch` of functions that draw.

    Args:
        options: the flags' values; `bands` and `stretch` are used.
        config: of the model that takes the images.

    Raises:
        ValueError: if there are no such bands or stretch.
    """
    from keras_maskrcnn.visualize.look import checked_bands, checked_stretch, default_stretch

    stretch: Any = options.stretch
    if stretch == ["none"]:
        stretch = "none" if config.image_dtype == "uint8" else ("values", 0.0, config.pixel_max)
    elif stretch is not None:
        stretch = checked_stretch(stretch)
    bands = options.bands
    if bands is not None:
        bands = tuple(band + 1 for band in checked_bands(bands, config.in_channels))
    return {
        "bands": bands,
        "stretch": default_stretch(config.image_dtype) if stretch is None else stretch,
    }


def refuse_same(options: flags.FlagValues, images: str) -> None:
    """Raises OSError if --output is the folder of the images.

    Args:
        options: the flags' values; `output` is used.
        images: path of the folder.
    """
    if os.path.realpath(options.output) == os.path.realpath(images):
        raise FileExistsError(
            f"pictures would replace images. Received: output={options.output!r}."
        )


def refuse_filled(options: flags.FlagValues, images: str) -> None:
    """Raises OSError if pictures in the --output folder might replace files.

    Args:
        options: the flags' values; `output` and `overwrite` are used.
        images: path of the folder of the images. It is refused even with --overwrite.
    """
    refuse_same(options, images)
    if os.path.isdir(options.output) and os.listdir(options.output) and not options.overwrite:
        raise FileExistsError(
            f"the output folder is not empty; pass --overwrite or another --output. "
            f"Received: output={options.output!r}."
        )
    paths.require_writable(options.output)


def picture_names(names: Sequence[str]) -> list[str]:
    """Returns a picture's name per image: a.png for a.jpg; a.jpg.png if a.png is an image too."""
    stems = [os.path.splitext(name)[0] for name in names]
    counts = collections.Counter([*stems, *names])  # a.png is also the stem of a.png.tif
    return [
        f"{stem if counts[stem] == 1 else name}.png"
        for name, stem in zip(names, stems, strict=True)
    ]


@contextlib.contextmanager
def left_out_if_unreadable(
    name: str, unreadable: list[str], options: flags.FlagValues, alone: bool
) -> Iterator[None]:
    """Leaves out an image that cannot be read: logs it and appends its name to a list.

    Args:
        name: str. The image.
        unreadable: list of str. The name is appended to it.
        options: the flags' values; `on_error` is used.
        alone: bool. Whether it is the only image. Its DataError is then raised, unless
            --on_error=skip.
    """
    try:
        yield
    except DataError as error:
        if alone and options.on_error == "raise":
            raise
        logging.warning("left out: %s", error)
        unreadable.append(name)
