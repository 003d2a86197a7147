"""The command `explain`."""

import os

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, pictures
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.data import DataError


def explain(options: flags.FlagValues) -> None:
    """Tells which stage of the model lost each object that it did not find, and draws it."""
    from keras_maskrcnn import visualize
    from keras_maskrcnn.explaining import explain as explain_image
    from keras_maskrcnn.explaining import summary

    pictures.refuse_filled(options, options.images)
    overrides = config_overrides(options, leave_out=("proposals",))
    model = inputs.with_overrides(inputs.load_model(options.model), overrides)
    dataset = inputs.read_dataset(options, model.config)
    proposals, indices = inputs.read_proposals(options.proposals), _chosen(dataset, options)
    every = options.image is None
    rows, unreadable = [], list(dataset.skipped) if every else []
    names = pictures.picture_names(dataset.file_names)
    written = [os.path.join(options.output, name) for name in (*names, "explain.json")]
    images = [os.path.join(dataset.images, name) for name in dataset.file_names]
    paths.refuse_inputs(options, *written, images=images)
    os.makedirs(options.output, exist_ok=True)
    alone = len(indices) == 1
    try:
        for index in outputs.progress(indices, options):
            name = dataset.file_names[index]
            with pictures.left_out_if_unreadable(name, unreadable, options, alone):
                found = explain_image(model, dataset, index, proposals=proposals)
                rows.append({**found.as_dict(), "picture": names[index]})
                visualize.save_png(os.path.join(options.output, names[index]), found.picture())
    finally:  # of a command that was stopped too
        counts = summary(rows)
        if rows and not options.quiet:  # before they are written, which may fail
            if not every:
                print(found)
            _print_lost(counts)
        if rows or unreadable:
            content = {**counts, "unreadable": unreadable, "explained": rows}
            outputs.write_output(os.path.join(options.output, "explain.json"), content, 1)
    if not options.quiet:
        print(f"Pictures and explain.json are in {options.output}; docs/explain.md says more.")
    outputs.report_unreadable(unreadable, outputs.count_images(dataset) if every else 1, options)


def _chosen(dataset, options):
    """Returns the indices of the images to explain: of all, or of --image."""
    if options.image is None:
        return range(len(dataset))
    if options.image in dataset.skipped:
        raise DataError(f"image cannot be read. Received: image={options.image!r}.")
    if options.image not in dataset.file_names:
        raise ValueError(
            f"{options.annotations} has no such file_name. Received: image={options.image!r}."
        )
    return [dataset.file_names.index(options.image)]


def _print_lost(counts):
    """Prints the `explaining.summary` of all images."""
    print(
        f"{counts['found']} of {counts['objects']} objects in {counts['images']} images "
        "found; lost:" + ("" if counts["lost"] else " none.")
    )
    for cause, count in counts["lost"].items():
        print(f"  {count:6} {cause}")


def explain_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `explain`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("image", None, "file_name of the only image to explain; default: all")
    define.crowds()
    define.string("output", None, "folder for pictures and explain.json", required=True)
    define.string("proposals", None, "proposals of the images, for a model without RPN")
    define.on_error("the others are done")
    define.boolean("overwrite", False, "write into a folder that is not empty")
    define_config(define, only=INFERENCE_FIELDS, of="model")
