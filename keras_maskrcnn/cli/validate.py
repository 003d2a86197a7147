"""The command `validate`."""

import os

from absl import flags

from keras_maskrcnn.cli import outputs, paths, pictures, tiles
from keras_maskrcnn.cli.config_flags import (
    IMAGE_SIZE_TEXT,
    config_overrides,
    define_config,
    set_image_size,
)
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.files import replacing
from keras_maskrcnn.presets import preset_config

_REPAIRS_SHOWN = 20


def validate(options: flags.FlagValues) -> None:
    """Checks a data set; status 1 if training would fail. --fix=PATH writes a repaired copy.

    With --tile, images may be of any size. It then tells how tiles fit the objects.
    """
    from keras_maskrcnn import doctor

    reports = {}
    if options.output:
        reports = {end: os.path.join(options.output, f"report.{end}") for end in ("json", "html")}
    _refuse_outputs(options, reports)
    tiles.check_tiles(options)
    config = _config(options)
    look = pictures.look(options, config)
    found, report = doctor.examine(
        options.images,
        options.annotations,
        max_instances=options.max_instances,
        anchors=_anchors(config),
        progress=lambda images: outputs.progress(images, options),
        masks=_masks(options, config),
        crowds=tiles.crowds(options),
        tiles=tiles.cutting(options),
        orientation=options.orientation,
        sample=options.sample,
        **config.reading(),
    )
    if not options.quiet:
        print(doctor.text(report))
    if reports:
        os.makedirs(options.output, exist_ok=True)
        page = doctor.page(report, found, **look)
        with replacing(reports["html"]) as new, open(new, "w", encoding="utf-8") as file:
            file.write(page)
    try:
        if options.fix:
            report["repairs"] = _write_repaired(options.fix, found, options)
    finally:
        if reports:
            outputs.write_output(reports["json"], report, indent=1)
    _require_no_errors(found)


def _refuse_outputs(options, reports):
    """Raises if the reports or the repaired copy cannot be written or would replace an input."""
    for path in reports.values():
        paths.refuse_existing(path, options.overwrite)
    paths.refuse_inputs(options, *reports.values())
    if options.fix:
        paths.refuse_existing(options.fix, options.overwrite, "fix")
        paths.refuse_inputs(options, options.fix, flag="fix")


def _config(options):
    overrides = config_overrides(options)
    set_image_size(overrides, options.image_size)
    return preset_config(options.preset, **overrides)


def _masks(options, config):
    """Returns whether masks are needed; None, as the annotations have it, unless a flag tells."""
    given = options["preset"].present or options["task"].present
    return config.task == "masks" if given or config.task != "masks" else None


def _anchors(config):
    """Returns the anchors of a model with this config, as `doctor.examine` takes them."""
    from keras_maskrcnn.levels import STRIDES, anchor_sizes

    return dict(
        strides=tuple(STRIDES[config.neck].values()),
        anchor_sizes=anchor_sizes(config),
        anchor_ratios=config.anchor_ratios,
        anchor_rule=config.anchor_rule,
        **config.resizing(),
    )


def _require_no_errors(found):
    """Raises DataError if training on the data set would fail."""
    from keras_maskrcnn import doctor
    from keras_maskrcnn.data import DataError

    errors = [problem.line for problem in found.problems if problem.severity == doctor.ERROR]
    if errors:
        count = f"errors={len(errors)}, the first of them: {errors[0]}"
        raise DataError(f"training would fail. Received: {count}")


def _write_repaired(path, found, options):
    """Writes the repaired copy, and returns a list of lines that name the repairs."""
    from keras_maskrcnn import doctor

    content, repairs = doctor.repair(found)
    outputs.write_output(path, content)
    if not options.quiet:
        print(f"\n{len(repairs)} repairs:")
        print("\n".join(f"  {line}" for line in repairs[:_REPAIRS_SHOWN]))
        if len(repairs) > _REPAIRS_SHOWN:
            print("  ... (with --output=DIR, report.json lists all)")
        print(f"Wrote {path}.")
    return repairs


def validate_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `validate`."""
    define = Definer(values)
    define.string("images", None, "Folder of the images.", required=True)
    define.string("annotations", None, "COCO json of the images.", required=True)
    define.string("output", None, "Folder to write report.json and report.html into.")
    define.string("fix", None, "COCO json to write: a repaired copy of --annotations.")
    define.string(
        "preset",
        "mask_rcnn_resnet50_fpn",
        "Preset whose resizing and anchors are compared with the sizes of the objects. If it is "
        "given, its task says whether every object needs a mask.",
    )
    define.integer("image_size", None, IMAGE_SIZE_TEXT, low=1)
    define.integer(
        "max_instances",
        None,
        "Most instances per image that a batch holds. Default: as many as needed.",
        low=1,
    )
    define.integer(
        "sample",
        None,
        "Number of images to decode, chosen at random; of the others only the header is read. "
        "Default: all.",
        low=1,
    )
    define.boolean("overwrite", False, "Replace --fix and the reports in --output if they exist.")
    define.crowds()
    define.orientation(None)
    tiles.tile_flags(define)
    pictures.look_flags(define)
    fields = (
        "in_channels",
        "image_dtype",
        "pixel_max",
        "task",
        "image_min_side",
        "image_max_side",
        "anchor_sizes",
        "anchor_ratios",
    )
    define_config(define, only=fields)
