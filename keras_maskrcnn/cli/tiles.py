"""The flags --tile, --overlap and what belongs to them, for commands that take big images."""

from typing import TYPE_CHECKING, Any

from absl import flags

from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.typing import Crowds

if TYPE_CHECKING:
    from keras_maskrcnn.data.coco import CocoDataset
    from keras_maskrcnn.data.tiled_set import TiledDataset

_NAMES = ("overlap", "min_share", "empty_tiles")


def tile_flags(define: Definer) -> None:
    """Defines --tile, --overlap, --min_share and --empty_tiles."""
    define.integer(
        "tile",
        None,
        "Side of square tiles, in pixels, into which big images are cut; see docs/large_images.md. "
        "Default: whole images.",
        low=1,
    )
    define.integer(
        "overlap",
        None,
        "With --tile: pixels that neighbor tiles share. Default: a quarter of the tile.",
        low=1,
    )
    define.float(
        "min_share",
        None,
        "With --tile: a piece that shows less than this share of its object is neither an object "
        "nor background. Default: 0.5.",
        low=0,
        high=1,
    )
    define.float(
        "empty_tiles",
        None,
        "With --tile: share of the tiles without objects that are kept. Default: 1.",
        low=0,
        high=1,
    )


def check_tiles(options: flags.FlagValues) -> None:
    """Raises ValueError if a flag is given that needs --tile, or no tile is possible."""
    from keras_maskrcnn.data.tile_grid import tile_and_overlap

    for name in _NAMES:
        if getattr(options, name) is not None and options.tile is None:
            value = getattr(options, name)
            raise ValueError(f"--{name} needs --tile. Received: {name}={value!r}.")
    if options.tile is not None:
        tile_and_overlap(options.tile, options.overlap)


def reading(options: flags.FlagValues) -> dict[str, Any]:
    """Returns the arguments with which `coco_dict` reads images for tiles, or whole images."""
    if options.tile is None:
        return {"crowds": options.crowds, "on_error": options.on_error}
    return {"crowds": crowds(options), "check_images": False}


def crowds(options: flags.FlagValues) -> Crowds:
    """Returns how crowds are read. With --tile they are ignored, unless --crowds is given."""
    given = options.tile is None or options["crowds"].present
    return options.crowds if given else "ignore"


def in_tiles(
    dataset: "CocoDataset", options: flags.FlagValues, **changes: Any
) -> "CocoDataset | TiledDataset":
    """Cuts a data set as the flags say; returns it as it is without --tile.

    Args:
        dataset: `CocoDataset`, read with `reading`.
        options: the flags' values.
        **changes: arguments of `tiled` that replace the flags'.
    """
    from keras_maskrcnn.data.tiled_set import tiled

    given = cutting(options)
    if given is None:
        return dataset
    return tiled(dataset, **{**given, "on_error": options.on_error, **changes})


def cutting(options: flags.FlagValues) -> dict[str, Any] | None:
    """Returns the arguments of `cut_into_tiles` that the flags give; None without --tile."""
    if options.tile is None:
        return None
    return {"tile": options.tile} | {
        n: getattr(options, n) for n in _NAMES if getattr(options, n) is not None
    }


def print_counts(dataset: "CocoDataset | TiledDataset") -> None:
    """Prints what became of the objects, if the data set is one of tiles."""
    counts = getattr(dataset, "tile_counts", None)
    if counts is not None:
        print(counts.report(), flush=True)


def identity(options: flags.FlagValues) -> dict[str, Any]:
    """Returns what must not change when a run on tiles continues; {} without --tile."""
    if options.tile is None:
        return {}
    return {name: getattr(options, name) for name in ("tile", *_NAMES)}
