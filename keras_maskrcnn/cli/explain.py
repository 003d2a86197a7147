"""The command `explain`."""

import os

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, pictures
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.data import DataError


def explain(options: flags.FlagValues) -> None:
    """Finds the stage of the model that lost each missed object; writes a picture per image."""
    from keras_maskrcnn import visualize
    from keras_maskrcnn.explaining import explain as explain_image
    from keras_maskrcnn.explaining import summary

    pictures.check_look(options)
    pictures.refuse_filled(options, options.images)
    overrides = config_overrides(options, leave_out=("proposals",))
    model = inputs.with_overrides(inputs.load_model(options.model), overrides)
    look = pictures.look(options, model.config)
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
                visualize.save_png(
                    os.path.join(options.output, names[index]), found.picture(**look)
                )
    finally:  # also if the command was stopped
        counts = summary(rows)
        if rows and not options.quiet:  # print first, because writing may fail
            if not every:
                print(found)
            _print_lost(counts)
        if rows or unreadable:
            content = {**counts, "unreadable": unreadable, "explained": rows}
            outputs.write_output(os.path.join(options.output, "explain.json"), content, 1)
    if not options.quiet:
        print(f"Pictures and explain.json are in {options.output}; see docs/explain.md.")
    outputs.report_unreadable(unreadable, outputs.count_images(dataset) if every else 1, options)


def _chosen(dataset, options):
    """Returns the indices of the images to explain: all, or that of --image."""
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
    """Prints a summary, as `explaining.summary` returns it."""
    print(
        f"{counts['found']} of {counts['objects']} objects in {counts['images']} images "
        "found; lost:" + ("" if counts["lost"] else " none.")
    )
    for cause, count in counts["lost"].items():
        print(f"  {count:6} {cause}")


def explain_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `explain`."""
    define = Definer(values)
    define.string("model", None, "The model, a .keras file.", required=True)
    define.string("images", None, "Folder of the images.", required=True)
    define.string("annotations", None, "COCO json of the images.", required=True)
    define.string("image", None, "file_name of the one image to explain. Default: all images.")
    define.crowds()
    define.orientation(None)
    define.string("output", None, "Folder for the pictures and explain.json.", required=True)
    define.string("proposals", None, "Proposals of the images, for a model without an RPN.")
    pictures.look_flags(define)
    define.on_error("The other images are explained in both cases.")
    define.boolean("overwrite", False, "Write into --output even if it is not empty.")
    define_config(define, only=INFERENCE_FIELDS, of="model")
