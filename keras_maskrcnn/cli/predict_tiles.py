"""`predict --tile`: large images tile by tile."""

import dataclasses
import os
import shutil

from absl import flags

from keras_maskrcnn.cli import answers, inputs, outputs, paths, pictures
from keras_maskrcnn.cli.config_flags import config_overrides
from keras_maskrcnn.cli.definer import Definer

_TILE = 1024
_STATE = "unfinished-tiles"  # in --output, until all images are done
NEED_TILE = {
    "overlap": None,
    "seams": "join",
    "scale": None,
    "microns_per_pixel": None,
    "viewer": False,
    "resume": False,
}
"""Flags that need --tile, with their defaults."""


def grid_flags(define: Definer) -> None:
    """Defines --tile and --overlap."""
    define.integer(
        "tile",
        None,
        "Side of a tile in pixels. Images are cut into tiles, and each object is found once. For "
        "images that are too large for the model or the memory.",
        low=1,
    )
    define.integer(
        "overlap",
        None,
        "With --tile: pixels that neighbor tiles share, best at least the size of the objects. "
        "Default: a quarter of the tile.",
        low=0,
    )


def tile_flags(define: Definer) -> None:
    """Defines --tile and what belongs to it."""
    grid_flags(define)
    define.boolean("tiles", False, f"The same as --tile={_TILE}.")
    define.enum(
        "seams",
        "join",
        ["join", "own"],
        "With --tile: an object that no tile sees whole is joined from its parts (join), or left "
        "out (own).",
    )
    define.float("scale", None, "With --tile: images are resized by this factor first.", low=0)
    define.float(
        "microns_per_pixel",
        None,
        "With --tile: images are resized to this resolution first, if their files tell their own.",
        low=0,
    )
    define.boolean("viewer", False, "With --tile: also write a page to pan and zoom in.")
    define.boolean(
        "resume", False, "With --tile: go on with the tiles that a stopped run left in --output."
    )


def is_tiled(options: flags.FlagValues) -> bool:
    """Returns whether images are cut into tiles; raises ValueError for a flag that needs it."""
    if options.tiles or options.tile:
        return True
    for name, default in NEED_TILE.items():
        if (value := getattr(options, name)) != default:
            raise ValueError(f"--{name} needs --tile. Received: {name}={value!r}.")
    return False


def predict_tiles(options: flags.FlagValues) -> None:
    """Does what `predict` does, tile by tile."""
    from keras_maskrcnn.data.sources import open_source
    from keras_maskrcnn.tiling import predict_large
    from keras_maskrcnn.viewer import draw_overview, write_viewer
    from keras_maskrcnn.visualize import save_png

    pictures.check_look(options)
    pictures.refuse_same(options, options.input)
    folder, names = _list(options)
    state = os.path.join(options.output, _STATE)
    stopped = os.path.isdir(state)
    if stopped and not options.resume and not options.overwrite:
        raise FileExistsError(
            "a stopped run left finished tiles; pass --resume to go on, or --overwrite to begin "
            f"again. Received: output={options.output!r}."
        )
    if not (stopped and options.resume):
        pictures.refuse_filled(options, folder)
        shutil.rmtree(state, ignore_errors=True)
    images = [os.path.join(folder, name) for name in names]
    drawn = [os.path.join(options.output, name) for name in pictures.picture_names(names)]
    paths.refuse_inputs(options, *drawn, images=images)
    model = inputs.with_overrides(inputs.load_predictor(options), config_overrides(options))
    kind = model.config.in_channels, model.config.image_dtype
    look = pictures.look(options, model.config)
    shown = {"score_threshold": options.draw_threshold, "on_error": options.on_error, **look}
    objects, lost = 0, 0
    unreadable: list[str] = []
    with answers.answers(options, model.config, names) as add:
        for image, name, picture in zip(images, names, drawn, strict=True):
            with (
                pictures.left_out_if_unreadable(name, unreadable, options, len(names) == 1),
                open_source(image, *kind, orientation=options.orientation) as source,
            ):
                found = predict_large(
                    model,
                    source,
                    tile=options.tile or _TILE,
                    overlap=options.overlap,
                    seams=options.seams,
                    scale=options.scale,
                    microns_per_pixel=options.microns_per_pixel,
                    max_mask_overlap=options.max_mask_overlap,
                    output=os.path.join(state, f"{name}.sqlite"),
                    small="raise" if len(names) == 1 else "whole",
                    on_error=options.on_error,
                    verbose=outputs.verbosity(options),
                )
                add(dataclasses.replace(found.record, file_name=name), found)
                save_png(picture, draw_overview(source, found, **shown))
                if options.viewer:
                    page = f"{os.path.splitext(picture)[0]}_viewer"
                    write_viewer(page, source, found, overwrite=True, **shown)
                objects, lost = objects + len(found["scores"]), lost + len(found.left_out)
                found.close()
    shutil.rmtree(state, ignore_errors=True)  # there is none if no image could be read
    if not options.quiet:
        done = len(names) - len(unreadable)
        print(f"{objects} objects in {done} images; pictures in {options.output}.")
        if lost:
            print(f"{lost} tiles could not be read and are not in the results.")
    outputs.report_unreadable(unreadable, len(names), options)


def _list(options):
    """Returns the folder of the images and their names in it."""
    from keras_maskrcnn.data.sources import SUFFIXES

    path = options.input.rstrip(os.sep)
    if os.path.isfile(path) or path.endswith(".zarr"):  # a zarr array is a folder
        return os.path.dirname(path), [os.path.basename(path)]
    return path, inputs.list_images(path, options.output, SUFFIXES)
