"""The command `convert`."""

import inspect
import os

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, tiles, usage
from keras_maskrcnn.cli.definer import Definer

_FORMAT_FLAGS = (
    *("class_names", "class_attribute", "label_divisor", "mask_threshold", "split"),
    *("predictions", "masks_folder", "class_descriptions"),
)


def convert(options: flags.FlagValues) -> None:
    """Converts annotations to a COCO json; from a COCO json, keeps only the usable annotations.

    With --tile, it also writes the tiles of the images, and the json is about them.
    """
    from keras_maskrcnn.data import formats, require_instances

    paths.refuse_existing(options.output, options.overwrite)
    paths.refuse_inputs(options, options.output)
    _check_tiles(options)
    reader = formats.READERS[options.format]
    taken = inspect.signature(reader).parameters
    given = usage.given_for_format(options, _FORMAT_FLAGS, taken)
    names = given.get("class_names")
    if names and not names.lower().endswith((".txt", ".yaml", ".yml")):
        given["class_names"] = [name.strip() for name in names.split(",")]
    dataset = reader(
        options.images,
        options.annotations,
        masks=options.masks,
        orientation=options.orientation,
        **tiles.reading(options),
        **inputs.pixels(options),
        **given,
    )
    require_instances(dataset, options.annotations)
    if options.tile is not None:
        dataset = tiles.in_tiles(dataset, options)
        require_instances(dataset, options.annotations)
        outputs.write_output(options.output, _write_tiles(dataset, options))
    else:
        outputs.write_output(options.output, dataset.content())
    if not options.quiet:
        print(
            f"Wrote {options.output}: {len(dataset)} images, {len(dataset.labels)} instances, "
            f"{dataset.num_classes} classes{'' if dataset.has_masks else '; boxes without masks'}."
        )
        print(dataset.report() or "Nothing was dropped.")
        if dataset.skipped:
            print(f"Skipped {len(dataset.skipped)} images: {', '.join(sorted(dataset.skipped))}.")
        if options.tile is not None:
            tiles.print_counts(dataset)
            print("Pass --crowds=ignore to train, so that pieces to ignore are no background.")


def _check_tiles(options):
    """Raises if flags for tiles do not fit together, or tiles would replace files."""
    tiles.check_tiles(options)
    if (options.tile is None) != (options.tile_images is None):
        raise ValueError(
            "--tile and --tile_images must be given together."
            f" Received: tile={options.tile!r}, tile_images={options.tile_images!r}."
        )
    if options.tile is None:
        return
    folder = options.tile_images
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(f"--tile_images must be a folder. Received: {folder!r}.")
    if os.path.isdir(folder) and os.listdir(folder) and not options.overwrite:
        raise FileExistsError(f"{folder} holds files; pass --overwrite or another --tile_images.")
    inside = os.path.join(os.path.realpath(options.images), "")
    if os.path.join(os.path.realpath(folder), "").startswith(inside):
        raise ValueError(
            f"--tile_images must lie outside of --images. Received: tile_images={folder!r}."
        )
    paths.require_writable(folder, "tile_images")


def _write_tiles(dataset, options):
    """Writes the tiles, and returns the content of the json about them."""
    from keras_maskrcnn.data.tile_writing import write_tiles

    def progress(indices):
        return outputs.progress(indices, options)

    return write_tiles(dataset, options.tile_images, options.tile_format, progress)


def convert_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `convert`."""
    from keras_maskrcnn.data.formats import READERS

    define = Definer(values)
    define.enum(
        "format",
        None,
        list(READERS),
        "Format of the annotations; see docs/data_formats.md.",
        required=True,
    )
    define.string("images", None, "Folder of the images.", required=True)
    define.string("annotations", None, "File or folder of the annotations.", required=True)
    define.string("output", None, "COCO json to write.", required=True)
    define.string(
        "class_names",
        None,
        "Names separated by commas, or a .txt file with one name per line, or YOLO's data.yaml.",
    )
    define.string("class_attribute", None, "via_json: the attribute of a region that is its class.")
    define.integer(
        "label_divisor", None, "mask_images: a pixel is class * label_divisor + instance.", low=1
    )
    define.integer(
        "mask_threshold",
        None,
        "mask_images: each file is one instance, with the pixels that are at least this bright.",
        low=1,
        high=255,
    )
    define.string(
        "split",
        None,
        "voc: name of a list in ImageSets/Segmentation (boxes: ImageSets/Main), such as train.",
    )
    define.boolean(
        "predictions",
        None,
        "label_studio: read the newest prediction of each task.",
    )
    define.string(
        "masks_folder",
        None,
        "Folder of the PNG files. Default: panoptic: beside the json, with its name; open_images: "
        "the folder of the CSV file.",
    )
    define.string(
        "class_descriptions",
        None,
        "open_images: CSV file of LabelName,DisplayName, for classes with readable names.",
    )
    define.boolean(
        "masks",
        None,
        "Every instance needs a mask. Default: yes, unless no instance has one. --nomasks reads "
        "the boxes only, for a Faster R-CNN.",
    )
    define.crowds()
    define.orientation(None, "Default: what the tool of --format does; see docs/data_formats.md.")
    define.enum(
        "on_error",
        "raise",
        ["raise", "skip"],
        "What to do if an image cannot be read: stop (raise) or leave it out (skip).",
    )
    inputs.pixel_flags(define)
    tiles.tile_flags(define)
    define.string(
        "tile_images", None, "With --tile: folder to write the tiles into, outside of --images."
    )
    define.enum(
        "tile_format",
        "png",
        ["png", "jpg"],
        "With --tile: format of the tiles. png keeps the pixels; jpg (quality 95) is smaller. "
        "Tiles that neither can hold, of floats or of other bands, become .npy files.",
    )
    define.boolean(
        "overwrite", False, "Replace --output, and files in --tile_images, if they exist."
    )
