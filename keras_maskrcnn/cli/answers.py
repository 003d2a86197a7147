"""The files of detections that `predict` writes, in the formats of --format."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from absl import flags

from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.writers import FORMATS, ImageRecord, open_writer

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
def answers(options: flags.FlagValues, config: MaskRCNNConfig) -> Iterator[Add]:
    """Yields a function that writes the detections of an image in all formats of --format.

    Images that were written stay if the block ends by an error.
    """
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
