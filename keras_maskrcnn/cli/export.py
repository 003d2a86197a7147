"""The command `export`."""

import os

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, usage
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.data.images import MAX_PIXELS

_FORMAT_FLAGS = {
    "tf_saved_model": ("masks", "precision", "max_pixels", "warmup_sizes"),
    "onnx": ("image_size", "batch_size"),
    "litert": ("image_size", "batch_size", "precision"),
}


def export(options: flags.FlagValues) -> None:
    """Writes a model's next version as a SavedModel, OUTPUT/1, OUTPUT/2, ...; or another format."""
    names = sorted({*sum(_FORMAT_FLAGS.values(), ())})
    given = usage.given_for_format(options, names, _FORMAT_FLAGS[options.format])
    if sizes := given.get("warmup_sizes"):
        given["warmup_sizes"] = [_height_and_width("warmup_sizes", size) for size in sizes]
    path = options.output
    if options.format == "tf_saved_model":
        paths.require_writable(path)
        found = os.listdir(path) if os.path.isdir(path) else []
        versions = [int(name) for name in found if name.isdigit()]
        path = os.path.join(path, str(max(versions, default=0) + 1))
    else:
        paths.require_writable(os.path.dirname(path) or ".")
        given["image_size"] = _height_and_width("image_size", options.image_size or "")
    model = inputs.with_overrides(inputs.load_model(options.model), config_overrides(options))
    outputs.make_folder_of(path)
    model.export(path, options.format, **given, verbose=not options.quiet)


def _height_and_width(name, text):
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"a size is HEIGHTxWIDTH, as 480x640. Received: {name}={text!r}.")
    return tuple(int(side) for side in sides)


def export_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `export`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string(
        "output", None, "folder, whose next version the model becomes; else a file", required=True
    )
    define.enum("format", "tf_saved_model", list(_FORMAT_FLAGS), "see docs/runtimes.md")
    define.enum(
        "masks",
        None,
        ["soft", "binary", "rle"],
        "in their boxes as the model gives them; or pasted, as pixels or as COCO's run lengths; "
        "default: soft",
    )
    define.enum(
        "precision", None, ["float32", "bfloat16", "int8"], "of weights; default: the model's"
    )
    define.integer("max_pixels", None, f"of all images of a request; default: {MAX_PIXELS}", low=1)
    define.list(
        "warmup_sizes",
        None,
        "HEIGHTxWIDTH,... of the images of the warm-up requests; default: one that needs no "
        "resizing; empty: no requests",
    )
    define.string("image_size", None, "onnx, litert: HEIGHTxWIDTH of the images")
    define.integer("batch_size", None, "onnx, litert: images a request; default: 1", low=1)
    define_config(define, only=INFERENCE_FIELDS, of="model")
