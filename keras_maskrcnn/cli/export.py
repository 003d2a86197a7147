"""The command `export`."""

import os

from absl import flags

from keras_maskrcnn.cli import export_scores, inputs, outputs, paths, usage
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.data.images import MAX_PIXELS

_CALIBRATED_ON = ("calibration", "calibration_images")
_SCORED_ON = ("images", "annotations")
_FORMAT_FLAGS = {
    "tf_saved_model": ("masks", "precision", "max_pixels", "warmup_sizes", *_SCORED_ON),
    "onnx": ("image_size", "batch_size", "precision", *_CALIBRATED_ON, *_SCORED_ON),
    "openvino": ("precision", *_CALIBRATED_ON, *_SCORED_ON),
    "litert": ("image_size", "batch_size", "precision"),
}


def export(options: flags.FlagValues) -> None:
    """Exports a model as a SavedModel (OUTPUT/1, OUTPUT/2, ...), or to ONNX, OpenVINO or LiteRT."""
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
        if os.path.exists(path):
            raise FileExistsError(f"{path} exists; choose another --output.")
        if options.format == "litert" or options.image_size:
            given["image_size"] = _height_and_width("image_size", options.image_size or "")
    model = inputs.with_overrides(inputs.load_model(options.model), config_overrides(options))
    scored_on = export_scores.read_val(options, model)
    given = {name: value for name, value in given.items() if name not in _SCORED_ON}
    outputs.make_folder_of(path)
    if options.calibration is not None and options.orientation is not None:
        given["orientation"] = options.orientation
    model.export(path, options.format, **given, verbose=not options.quiet)
    if scored_on is not None:
        export_scores.print_scores(options, model, path, scored_on)


def _height_and_width(name, text):
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(
            f"{name} must be HEIGHTxWIDTH, such as 480x640. Received: {name}={text!r}."
        )
    return tuple(int(side) for side in sides)


def export_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `export`."""
    define = Definer(values)
    define.string("model", None, "The model, a .keras file.", required=True)
    define.string(
        "output",
        None,
        "tf_saved_model: folder; the model becomes its next version. Others: file to write.",
        required=True,
    )
    define.enum(
        "format", "tf_saved_model", list(_FORMAT_FLAGS), "Format to write; see docs/runtimes.md."
    )
    define.enum(
        "masks",
        None,
        ["soft", "binary", "rle"],
        "tf_saved_model: form of the masks. soft: scores in their boxes, as the model gives them. "
        "binary: pixels of the whole image. rle: COCO's run lengths of the whole image. Default: "
        "soft.",
    )
    define.enum(
        "precision",
        None,
        ["float32", "bfloat16", "float16", "int8"],
        "Data type that networks compute in, or of the weights; see docs/runtimes.md. "
        "tf_saved_model: float32, bfloat16, int8; default: the model's. onnx: float32 (the "
        "default), int8. openvino: float32 (the default), bfloat16, int8. litert: float32 (the "
        "default), float16, int8.",
    )
    define.string(
        "calibration",
        None,
        "onnx, openvino: folder of images for --precision=int8, which is fitted to them. They must "
        "be like those that the model will get, such as its training images.",
    )
    define.integer(
        "calibration_images",
        None,
        "onnx, openvino: the most images to take from --calibration. Default: 100.",
        low=1,
    )
    define.string(
        "images",
        None,
        "tf_saved_model, onnx, openvino: folder of images. Prints the AP of the model and of the "
        "file on them. They must not be in --calibration.",
    )
    define.string("annotations", None, "COCO json of --images.")
    define.crowds()
    define.orientation(
        None,
        "It is for --images and --calibration; a served model ignores the tag. Default: ignore, "
        "unless the json says apply in its info.",
    )
    define.integer(
        "max_pixels",
        None,
        "tf_saved_model: most pixels that the images of one request may have together. Default: "
        f"{MAX_PIXELS}.",
        low=1,
    )
    define.list(
        "warmup_sizes",
        None,
        "tf_saved_model: sizes of the images in the warm-up requests, as HEIGHTxWIDTH,... "
        "Default: one size that needs no resizing. Empty: no requests.",
    )
    define.string(
        "image_size",
        None,
        "onnx, litert: size of all images, as HEIGHTxWIDTH. The client resizes and pads them. "
        "litert needs it. Default of onnx: any size, and the file resizes images.",
    )
    define.integer(
        "batch_size",
        None,
        "onnx, litert: images per request. Default: any number for onnx, 1 for litert.",
        low=1,
    )
    define_config(define, only=INFERENCE_FIELDS, of="model")
