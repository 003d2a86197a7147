"""Writes and prints the commands' results: JSON, metrics, progress, unreadable images."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_maskrcnn.files import write_json
from keras_maskrcnn.progress import Progress

if TYPE_CHECKING:
    from keras_maskrcnn.data.coco import CocoDataset


def verbosity(options: flags.FlagValues) -> int:
    """Returns Keras' verbosity: 1 (a bar) on a terminal, else 2 (a line per epoch), 0 if quiet."""
    return 0 if options.quiet else 1 if sys.stdout.isatty() else 2


def progress(items: Sequence[Any], options: flags.FlagValues) -> Iterator[Any]:
    """Yields the items, with a progress bar."""
    bar = Progress(len(items), "image", verbosity(options))
    for i, item in enumerate(items):
        yield item
        bar.update(i + 1)


def make_folder_of(path: str) -> None:
    """Makes the folder of a file that will be written."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


def write_output(path: str, content: Any, indent: int | None = None) -> None:
    """Writes a JSON file, and makes its folder."""
    make_folder_of(path)
    write_json(path, content, indent)


def write_metrics(
    path: str,
    metrics: Mapping[str, float],
    options: flags.FlagValues,
    unreadable: Collection[str] = (),
) -> None:
    """Writes metrics as JSON, with the names of the unreadable images, and prints the metrics.

    If the file cannot be written, they are printed even with --quiet.
    """
    written = False
    try:
        lacking = {"unreadable": sorted(unreadable)} if unreadable else {}
        write_output(path, {**metrics, **lacking}, indent=1)
        written = True
    finally:
        if not (written and options.quiet):
            for name, value in metrics.items():
                print(f"{name:<24} {value:.4f}")


def count_images(dataset: "CocoDataset") -> int:
    """Counts the images of a data set, with the unreadable ones that were left out."""
    return len({*dataset.file_names, *dataset.skipped})


def report_unreadable(names: Collection[str], count: int, options: flags.FlagValues) -> None:
    """Prints which of `count` images could not be read; raises DataError with --on_error=raise."""
    from keras_maskrcnn.data import DataError

    if not names:
        return
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    line = (
        f"{len(names)} of {count} images could not be read and are not in the results: "
        f"{', '.join(names[:10])}{more}."
    )
    if options.on_error == "raise":
        raise DataError(line)
    if not options.quiet:
        print(line)
