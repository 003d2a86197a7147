"""The commands that use a trained model, from evaluate to export; and import-weights."""

import collections
import os

from absl import logging

from keras_maskrcnn.cli.config_flags import (
    DATA_FIELDS,
    PRESETS_TEXT,
    PROPOSAL_FIELDS,
    Definer,
    config_overrides,
    define_config,
    define_crowds,
    define_inference_config,
    define_on_error,
)
from keras_maskrcnn.cli.files import (
    count_images,
    list_images,
    listdir,
    load_model,
    make_folder_of,
    progress,
    read_dataset,
    read_proposals,
    refuse_existing,
    refuse_inputs,
    report_unreadable,
    require_file,
    require_suffix,
    require_writable,
    verbosity,
    with_overrides,
    write_metrics,
    write_output,
)
from keras_maskrcnn.config_rules import PEERS
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.presets import preset_config

_EXPORT_FLAGS = {
    "tf_saved_model": ("masks", "precision", "max_pixels", "warmup_sizes"),
    "onnx": ("image_size", "batch_size"),
    "litert": ("image_size", "batch_size", "precision"),
}


def evaluate(options):
    """Scores a model with pycocotools and writes the 12 box and 12 mask numbers as JSON."""
    from keras_maskrcnn.evaluation import evaluate as coco_evaluate

    refuse_existing(options.output, options.overwrite)
    refuse_inputs(options, options.output)
    overrides = config_overrides(options, leave_out=("proposals",))
    model = load_model(options.model)
    if model.config.detections_per_image < options.max_detections:
        overrides.setdefault("detections_per_image", options.max_detections)
    model = with_overrides(model, overrides)
    dataset = read_dataset(options, model.config)
    metrics = coco_evaluate(
        model,
        dataset,
        max_detections=options.max_detections,
        per_class=options.per_class,
        proposals=read_proposals(options.proposals),
        verbose=verbosity(options) % 2,
        on_error="skip",
    )
    write_metrics(options.output, metrics, options, dataset.skipped)
    report_unreadable(dataset.skipped, count_images(dataset), options)


def propose(options):
    """Writes the proposals of an RPN into a folder, and average_recall.json with their recall."""
    from keras_maskrcnn import evaluation

    require_writable(options.output)
    written = ("index.json", "average_recall.json")
    refuse_inputs(options, *(os.path.join(options.output, name) for name in written))
    model = with_overrides(load_model(options.model), config_overrides(options))
    dataset = read_dataset(options, model.config)
    verbose = verbosity(options) % 2
    found = evaluation.propose(
        model,
        dataset,
        options.output,
        overwrite=options.overwrite,
        verbose=verbose,
        on_error="skip",
    )
    metrics = evaluation.average_recall(found, dataset, verbose=verbose)
    path = os.path.join(options.output, "average_recall.json")
    write_metrics(path, metrics, options, dataset.skipped)
    report_unreadable(dataset.skipped, count_images(dataset), options)


def predict(options):
    """Draws detections on every image, and writes them as COCO results with file names."""
    from keras_maskrcnn import visualize
    from keras_maskrcnn.data.images import DataError, log_remarks, read_with_remarks
    from keras_maskrcnn.detections import coco_box, predict_image
    from keras_maskrcnn.ops import rle

    folder = options.input if os.path.isdir(options.input) else os.path.dirname(options.input)
    _refuse_filled(options, folder)
    images = list_images(options.input, options.output)
    paths = [os.path.join(folder, name) for name in images]
    model = with_overrides(load_model(options.model), config_overrides(options))
    names, ids = model.config.names(), model.config.ids()
    color_by = "class" if len(names) > 1 else "instance"  # of one class, neighbors differ
    results = []
    pictures = _picture_names(images)
    written = [os.path.join(options.output, name) for name in (*pictures, "predictions.json")]
    refuse_inputs(options, *written, images=paths)
    os.makedirs(options.output, exist_ok=True)
    unreadable, done, remarked = [], 0, collections.defaultdict(list)
    try:
        for name, picture_name in zip(progress(images, options), pictures, strict=True):
            try:
                image, remarks = read_with_remarks(os.path.join(folder, name))
            except DataError as error:
                if len(paths) == 1 and options.on_error == "raise":
                    raise
                logging.warning("left out: %s", error)
                unreadable.append(name)
                continue
            for remark in remarks:
                remarked[remark].append(name)
            found = predict_image(model, image)
            boxes = zip(found["boxes"], found["scores"], found["labels"], strict=True)
            for i, (box, score, label) in enumerate(boxes):
                results.append({"file_name": name, **coco_box(box, score, label, ids)})
                if "masks" in found:
                    mask = found["masks"][i]
                    results[-1]["segmentation"] = rle.encode_region(mask, (0, 0), *mask.shape)
            picture = visualize.draw(
                image, found, names, score_threshold=options.draw_threshold, color_by=color_by
            )
            visualize.save_png(os.path.join(options.output, picture_name), picture)
            done += 1
    finally:  # of a command that was stopped too
        log_remarks(remarked)
        if done or results or unreadable:
            write_output(os.path.join(options.output, "predictions.json"), results)
    if not options.quiet:
        print(f"{len(results)} detections in {done} images; pictures in {options.output}.")
    report_unreadable(unreadable, len(paths), options)


def _refuse_filled(options, images):
    """Raises if pictures in the output folder might replace files: of the images, always."""
    if os.path.realpath(options.output) == os.path.realpath(images):
        raise FileExistsError(
            f"pictures would replace images. Received: output={options.output!r}."
        )
    if os.path.isdir(options.output) and os.listdir(options.output) and not options.overwrite:
        raise FileExistsError(
            f"the output folder is not empty; pass --overwrite or another. "
            f"Received: output={options.output!r}."
        )
    require_writable(options.output)


def _picture_names(names):
    """a.jpg -> a.png; with the whole name, a.jpg.png, where only suffixes differ."""
    stems = [os.path.splitext(name)[0] for name in names]
    counts = collections.Counter(stems)
    return [
        f"{stem if counts[stem] == 1 else name}.png"
        for name, stem in zip(names, stems, strict=True)
    ]


def explain(options):
    """Tells which stage of the model lost each object that it did not find, and draws it."""
    from keras_maskrcnn import data, visualize
    from keras_maskrcnn.explain import explain as explain_image
    from keras_maskrcnn.explain import summary

    _refuse_filled(options, options.images)
    overrides = config_overrides(options, leave_out=("proposals",))
    model = with_overrides(load_model(options.model), overrides)
    dataset = read_dataset(options, model.config)
    proposals, indices = read_proposals(options.proposals), range(len(dataset))
    if options.image is not None:
        if options.image in dataset.skipped:
            raise data.DataError(f"image cannot be read. Received: image={options.image!r}.")
        if options.image not in dataset.file_names:
            raise ValueError(
                f"{options.annotations} has no such file_name. Received: image={options.image!r}."
            )
        indices = [dataset.file_names.index(options.image)]
    pictures, rows, unreadable = _picture_names(dataset.file_names), [], list(dataset.skipped)
    if options.image is not None:
        unreadable = []
    written = [os.path.join(options.output, name) for name in (*pictures, "explain.json")]
    images = [os.path.join(dataset.images, name) for name in dataset.file_names]
    refuse_inputs(options, *written, images=images)
    os.makedirs(options.output, exist_ok=True)
    try:
        for index in progress(indices, options):
            try:
                found = explain_image(model, dataset, index, proposals=proposals)
            except data.DataError as error:
                if len(indices) == 1 and options.on_error == "raise":
                    raise
                logging.warning("left out: %s", error)
                unreadable.append(dataset.file_names[index])
                continue
            rows.append({**found.as_dict(), "picture": pictures[index]})
            visualize.save_png(os.path.join(options.output, pictures[index]), found.picture())
    finally:  # of a command that was stopped too
        counts = summary(rows)
        if rows and not options.quiet:  # before they are written, which may fail
            if options.image is not None:
                print(found)
            _print_lost(counts)
        if rows or unreadable:
            content = {**counts, "unreadable": unreadable, "explained": rows}
            write_output(os.path.join(options.output, "explain.json"), content, 1)
    if not options.quiet:
        print(f"Pictures and explain.json are in {options.output}; docs/explain.md says more.")
    count = count_images(dataset) if options.image is None else 1
    report_unreadable(unreadable, count, options)


def _print_lost(counts):
    """Prints the `explain.summary` of all images."""
    print(
        f"{counts['found']} of {counts['objects']} objects in {counts['images']} images "
        "found; lost:" + ("" if counts["lost"] else " none.")
    )
    for cause, count in counts["lost"].items():
        print(f"  {count:6} {cause}")


def export(options):
    """Writes a model's next version as a SavedModel, OUTPUT/1, OUTPUT/2, ...; or another format."""
    given = {name: getattr(options, name) for name in sorted({*sum(_EXPORT_FLAGS.values(), ())})}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in _EXPORT_FLAGS[options.format]:
            raise ValueError(f"{options.format} has no {name}. Received: {name}={value!r}.")
    if "warmup_sizes" in given:
        sizes = [_height_and_width("warmup_sizes", size) for size in given["warmup_sizes"]]
        given["warmup_sizes"] = sizes
    path = options.output
    require_writable(path if options.format == "tf_saved_model" else os.path.dirname(path) or ".")
    if options.format == "tf_saved_model":
        versions = [int(name) for name in listdir(path) if name.isdigit()]
        path = os.path.join(path, str(max(versions, default=0) + 1))
    else:
        given["image_size"] = _height_and_width("image_size", options.image_size or "")
    model = with_overrides(load_model(options.model), config_overrides(options))
    make_folder_of(path)
    model.export(path, options.format, **given, verbose=not options.quiet)


def _height_and_width(name, text):
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"a size is HEIGHTxWIDTH, as 480x640. Received: {name}={text!r}.")
    return tuple(int(side) for side in sides)


def import_weights(options):
    """Writes a .keras file from the checkpoint of another framework, and says what became of it."""
    from keras_maskrcnn import weights
    from keras_maskrcnn.model import MaskRCNN

    require_file("checkpoint", options.checkpoint)
    refuse_existing(options.output, options.overwrite)
    require_suffix("output", options.output)
    refuse_inputs(options, options.output)
    overrides = config_overrides(options)
    if options.num_classes is not None:
        overrides["num_classes"] = options.num_classes
    model = MaskRCNN(preset_config(options.preset, **overrides))
    weights.LOADERS[options.source](
        model,
        options.checkpoint,
        skip_predictors=options.skip_predictors,
        verbose=not options.quiet,
    )
    make_folder_of(options.output)
    model.save(options.output)
    if not options.quiet:
        print(f"Wrote {options.output}.")


def evaluate_flags(values):
    """Defines the flags of `evaluate`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("output", None, "JSON file for the numbers", required=True)
    define.integer("max_detections", 100, "detections an image that count", low=11)
    define.boolean("per_class", False, "also write the AP of each class")
    define_crowds(define)
    define.string("proposals", None, "proposals of the images, for a model without RPN")
    define_on_error(define, "the numbers are those of the others")
    define.boolean("overwrite", False, "replace an existing --output")
    define_inference_config(define)


def propose_flags(values):
    """Defines the flags of `propose`."""
    define = Definer(values)
    define.string("model", None, "a .keras file with task=proposals", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("output", None, "folder for the proposals and their recall", required=True)
    define_on_error(define, "there are proposals of the others")
    define.boolean("overwrite", False, "replace proposals in --output")
    define_crowds(define)
    define_inference_config(define, PROPOSAL_FIELDS)


def predict_flags(values):
    """Defines the flags of `predict`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("input", None, "an image, or a folder of images and folders", required=True)
    define.string("output", None, "folder for pictures and predictions.json", required=True)
    define.float("draw_threshold", 0.5, "lowest score that is drawn", low=0, high=1)
    define_on_error(define, "the others are done")
    define.boolean("overwrite", False, "write into a folder that is not empty")
    define_inference_config(define)


def explain_flags(values):
    """Defines the flags of `explain`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("image", None, "file_name of the only image to explain; default: all")
    define_crowds(define)
    define.string("output", None, "folder for pictures and explain.json", required=True)
    define.string("proposals", None, "proposals of the images, for a model without RPN")
    define_on_error(define, "the others are done")
    define.boolean("overwrite", False, "write into a folder that is not empty")
    define_inference_config(define)


def export_flags(values):
    """Defines the flags of `export`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string(
        "output", None, "folder, whose next version the model becomes; else a file", required=True
    )
    define.enum("format", "tf_saved_model", list(_EXPORT_FLAGS), "see docs/runtimes.md")
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
    define_inference_config(define)


def import_flags(values):
    """Defines the flags of `import-weights`."""
    define = Definer(values)
    sources = [*PEERS, "matterport", "keras_applications"]
    define.enum("source", None, sources, "whose checkpoint it is", required=True)
    define.string("preset", None, PRESETS_TEXT, required=True)
    define.string("checkpoint", None, "a .pth, .pkl, .npz, .h5 or .safetensors file", required=True)
    define.string("output", None, "the .keras file to write", required=True)
    define.integer("num_classes", None, "classes without background; default: the preset's", low=1)
    define.boolean("skip_predictors", False, "leave out the layers that depend on the classes")
    define.boolean("overwrite", False, "replace an existing --output")
    define_config(define, DATA_FIELDS)
