"""The commands for data sets: validate and convert."""

import inspect
import os

from keras_maskrcnn.cli.config_flags import (
    Definer,
    config_overrides,
    define_crowds,
    define_inference_config,
    set_image_size,
)
from keras_maskrcnn.cli.files import (
    progress,
    refuse_existing,
    refuse_inputs,
    write_output,
)
from keras_maskrcnn.files import replacing
from keras_maskrcnn.presets import preset_config

_REPAIRS_SHOWN = 20
_FORMAT_FLAGS = ("class_names", "class_attribute", "label_divisor", "mask_threshold", "split")


def validate(options):
    """Reports what is wrong with a data set; status 1 if training would fail. Can repair a copy."""
    from keras_maskrcnn import doctor
    from keras_maskrcnn.data import DataError
    from keras_maskrcnn.networks import STRIDES, anchor_sizes

    files = {}
    if options.output:
        files = {end: os.path.join(options.output, f"report.{end}") for end in ("json", "html")}
    for path in files.values():
        refuse_existing(path, options.overwrite)
    refuse_inputs(options, *files.values())
    if options.fix:
        refuse_existing(options.fix, options.overwrite, "fix")
        refuse_inputs(options, options.fix, flag="fix")
    overrides = config_overrides(options)
    set_image_size(overrides, options.image_size)
    config = preset_config(options.preset, **overrides)
    anchors = dict(
        strides=tuple(STRIDES[config.neck].values()),
        anchor_sizes=anchor_sizes(config),
        anchor_ratios=config.anchor_ratios,
        anchor_rule=config.anchor_rule,
        **config.resizing(),
    )
    found, report = doctor.examine(
        options.images,
        options.annotations,
        max_instances=options.max_instances,
        anchors=anchors,
        progress=lambda images: progress(images, options),
        masks=config.task == "masks",
        crowds=options.crowds,
    )
    if not options.quiet:
        print(doctor.text(report))
    if files:
        os.makedirs(options.output, exist_ok=True)
        page = doctor.page(report, found)
        with replacing(files["html"]) as new, open(new, "w", encoding="utf-8") as file:
            file.write(page)
    try:
        if options.fix:
            report["repairs"] = _write_repaired(options.fix, found, options)
    finally:
        if files:
            write_output(files["json"], report, indent=1)
    errors = [problem.line for problem in found.problems if problem.severity == doctor.ERROR]
    if errors:
        count = f"errors={len(errors)}, the first of them: {errors[0]}"
        raise DataError(f"training would fail. Received: {count}")


def _write_repaired(path, found, options):
    """Writes the repaired copy in one step, and returns a list of what was repaired."""
    from keras_maskrcnn import doctor

    content, repairs = doctor.repair(found)
    write_output(path, content)
    if not options.quiet:
        print(f"\n{len(repairs)} repairs:")
        print("\n".join(f"  {line}" for line in repairs[:_REPAIRS_SHOWN]))
        if len(repairs) > _REPAIRS_SHOWN:
            print("  ... (--output=DIR lists all in report.json)")
        print(f"Wrote {path}.")
    return repairs


def convert(options):
    """Writes a COCO json from annotations of another tool, or from what is kept of a COCO json."""
    from keras_maskrcnn.data import formats, require_instances

    refuse_existing(options.output, options.overwrite)
    refuse_inputs(options, options.output)
    reader = formats.READERS[options.format]
    given = {name: getattr(options, name) for name in _FORMAT_FLAGS}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in inspect.signature(reader).parameters:
            raise ValueError(f"{options.format} has no {name}. Received: {name}={value!r}.")
    names = given.get("class_names")
    if names and not names.lower().endswith((".txt", ".yaml", ".yml")):
        given["class_names"] = [name.strip() for name in names.split(",")]
    dataset = reader(
        options.images,
        options.annotations,
        masks=options.masks,
        crowds=options.crowds,
        on_error=options.on_error,
        **given,
    )
    require_instances(dataset, options.annotations)
    write_output(options.output, dataset.content())
    if not options.quiet:
        print(
            f"Wrote {options.output}: {len(dataset)} images, {len(dataset.labels)} instances, "
            f"{dataset.num_classes} classes{'' if dataset.has_masks else '; boxes without masks'}."
        )
        print(dataset.report() or "Nothing was dropped.")
        if dataset.skipped:
            print(f"Skipped {len(dataset.skipped)} images: {', '.join(sorted(dataset.skipped))}.")


def validate_flags(values):
    """Defines the flags of `validate`."""
    define = Definer(values)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("output", None, "folder for report.json and report.html")
    define.string("fix", None, "COCO json to write, a repaired copy")
    define.string(
        "preset",
        "mask_rcnn_resnet50_fpn",
        "whose resizing and anchors objects are measured against",
    )
    define.integer(
        "image_size", None, "shorter side in pixels; the longer side's limit follows", low=1
    )
    define.integer("max_instances", None, "slots for the instances of an image in a batch", low=1)
    define.boolean("overwrite", False, "replace an existing --fix and the reports in --output")
    define_crowds(define)
    fields = ("task", "image_min_side", "image_max_side", "anchor_sizes", "anchor_ratios")
    define_inference_config(define, fields)


def convert_flags(values):
    """Defines the flags of `convert`."""
    from keras_maskrcnn.data.formats import READERS

    define = Definer(values)
    define.enum(
        "format", None, list(READERS), "what to read, see docs/data_formats.md", required=True
    )
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "file or folder of the annotations", required=True)
    define.string("output", None, "COCO json to write", required=True)
    define.string(
        "class_names",
        None,
        "names with commas between, or a .txt file with one in each line, or YOLO's data.yaml",
    )
    define.string("class_attribute", None, "via_json: the region's attribute that is its class")
    define.integer("label_divisor", None, "mask_images: pixels are class * this + instance", low=1)
    define.integer(
        "mask_threshold",
        None,
        "mask_images: a file is one instance, where this bright",
        low=1,
        high=255,
    )
    define.string("split", None, "voc: name of the list in ImageSets/Segmentation, as train")
    define.boolean(
        "masks",
        None,
        "whether instances need a mask; default: yes, unless there is none at all; --nomasks: boxes"
        " of every instance, as a Faster R-CNN learns from",
    )
    define_crowds(define)
    define.enum("on_error", "raise", ["raise", "skip"], "what to do if an image is unreadable")
    define.boolean("overwrite", False, "replace an existing --output")
