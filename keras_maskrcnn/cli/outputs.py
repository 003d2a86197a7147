"""What the commands write and print: JSON, numbers, progress, images that could not be read."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.files import write_json


def verbosity(options: flags.FlagValues) -> int:
    """Keras' verbosity: a bar on a terminal, a line an epoch elsewhere, nothing if quiet."""
    return 0 if options.quiet else 1 if sys.stdout.isatty() else 2


def progress(items: Sequence[Any], options: flags.FlagValues) -> Iterator[Any]:
    """Yields the items, with a progress bar."""
    import keras

    bar = keras.utils.Progbar(len(items), verbose=verbosity(options) % 2, unit_name="image")
    for i, item in enumerate(items):
        yield item
        bar.update(i + 1)


def make_folder_of(path: str) -> None:
    """Makes the folder of a file that is to be written."""
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
    """Writes metrics as JSON, with the images that they lack, and prints them; if they cannot be
    written, they are printed in any case.
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


def count_images(dataset: CocoDataset) -> int:
    """The images of a data set, with those that were left out as they cannot be read."""
    return len({*dataset.file_names, *dataset.skipped})


def report_unreadable(names: Collection[str], count: int, options: flags.FlagValues) -> None:
    """Names the images, of `count`, that could not be read; a DataError without --on_error=skip."""
    from keras_maskrcnn.data import DataError

    if not names:
        return
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    line = (
        f"{len(names)} of {count} images could not be read, and the results are without them: "
        f"{', '.join(names[:10])}{more}."
    )
    if options.on_error == "raise":
        raise DataError(line)
    if not options.quiet:
        print(line)
