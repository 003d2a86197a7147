"""The files of detections that `predict` writes, in the formats of --format."""

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.writers import FORMATS, WRITERS, ImageRecord, open_writer

Add = Callable[[ImageRecord, Mapping[str, Any]], None]


def answer_flags(define: Definer) -> None:
    """Defines --format and --tolerance."""
    define.list(
        "format",
        ["rle"],
        f"Formats of the detections, one or several of {', '.join(FORMATS)}. rle is the file "
        "predictions.json.",
    )
    define.float(
        "tolerance",
        0,
        "Pixels by which the outlines of polygons may move, to have fewer corners.",
        low=0,
    )


@contextlib.contextmanager
def answers(
    options: flags.FlagValues, config: MaskRCNNConfig, names: Sequence[str]
) -> Iterator[Add]:
    """Yields a function that writes the detections of an image in all formats of --format.

    Images that were written stay if the block ends by an error.

    Args:
        options: the flags' values.
        config: of the model.
        names: sequence of str. Names of all images.
    """
    _refuse_clashes(options.format, names)
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                open_writer(
                    name,
                    options.output,
                    class_names=config.names(),
                    category_ids=config.ids(),
                    tolerance=options.tolerance,
                    overwrite=True,  # `refuse_filled` was before
                )
            )
            for name in dict.fromkeys(options.format)
        ]

        def add(record, found):
            for writer in writers:
                writer.add(record, found)

        yield add


def _refuse_clashes(formats, names):
    """Raises ValueError, before any work, if files of images would have one name.

    A format may not be able to tell two images apart. And its folder may have the name of a folder
    of images, whose pictures are written into it.
    """
    folders = {name.split("/")[0] for name in names if "/" in name}
    for place in {WRITERS[name].place for name in formats if name in WRITERS} & folders:
        raise ValueError(
            f"the folder {place} of --input has the name of a format's output; rename it, or give "
            f"another --input or --format. Received: format={','.join(formats)!r}."
        )
    counts = collections.Counter(os.path.splitext(name)[0] for name in names)
    twice = next((name for name in names if counts[os.path.splitext(name)[0]] > 1), None)
    for name in formats:
        if twice and name in WRITERS and WRITERS[name].only_by_stem:
            raise ValueError(
                f"{name}: two images must not have the same name without its suffix. "
                f"Received: {twice!r}."
            )
