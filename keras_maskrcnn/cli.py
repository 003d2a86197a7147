"""The command `keras-maskrcnn COMMAND --flag=value ...`; flags and files, no arithmetic.

Exit status: 0 on success, 1 on bad input (one line on stderr names it), 2 on bad usage.
"""

import dataclasses
import inspect
import json
import os
import sys

from absl import flags, logging

from keras_maskrcnn.config import PEERS, PRESETS, MaskRCNNConfig, preset_config

# What decides which epoch's weights best.keras has.
_MONITORED = {
    "masks": "val_segm/AP", "boxes": "val_bbox/AP", "proposals": "val_bbox/AR1000",
}  # fmt: skip
_FORMAT_FLAGS = ("class_names", "class_attribute", "label_divisor", "split")
_DATA_FIELDS = ("num_classes", "class_names", "category_ids")
_PROPOSAL_FIELDS = ("image_min_side", "image_max_side", "test_pre_nms", "test_proposals")
_INFERENCE_FIELDS = (
    *_PROPOSAL_FIELDS,
    *("score_threshold", "nms_iou", "detections_per_image", "mask_paste"),
)


def train(options):
    """Trains a model on a COCO-format folder; writes model.keras, history.json, logs, backups."""
    import keras

    from keras_maskrcnn import data, training
    from keras_maskrcnn.evaluation import CocoEvaluation
    from keras_maskrcnn.model import MaskRCNN

    output, verbose = options.output, _verbose(options)
    _check_output(output, options.resume)
    keras.utils.set_random_seed(options.seed)
    dataset = data.coco_json(options.images, options.annotations)
    overrides = _config_overrides(options, leave_out=("proposals",))
    if options.proposals:
        overrides["proposals"] = "precomputed"
    if options.image_size:
        overrides["image_min_side"] = options.image_size
        overrides.setdefault("image_max_side", round(options.image_size * 1333 / 800))
    config = preset_config(
        options.preset, num_classes=dataset.num_classes, class_names=dataset.class_names,
        category_ids=dataset.category_ids, **overrides,
    )  # fmt: skip
    proposals = _read_proposals(options.proposals)
    val, val_proposals = None, _read_proposals(options.val_proposals)
    if options.val_annotations:
        if (proposals is None) != (val_proposals is None):
            raise ValueError(
                "--proposals and --val_proposals go together. Received:"
                f" proposals={options.proposals!r}, val_proposals={options.val_proposals!r}."
            )
        val = data.coco_json(
            options.val_images or options.images, options.val_annotations,
            category_ids=dataset.category_ids,
        )  # fmt: skip
    steps_per_epoch = len(dataset) // options.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"batch_size must be at most the number of images, {len(dataset)}. "
            f"Received: batch_size={options.batch_size}."
        )
    recipe = _recipe(options, steps_per_epoch)
    steps = recipe.steps
    model = MaskRCNN(config)
    _start_from_weights(model, options)
    _freeze(model, options.freeze or ())
    model.compile(optimizer=recipe.optimizer())
    os.makedirs(output, exist_ok=True)
    if not options.quiet:
        print(f"{len(dataset)} images, {dataset.num_classes} classes; {recipe}", flush=True)

    callbacks = [keras.callbacks.BackupAndRestore(os.path.join(output, "backup"))]
    if val is not None:
        callbacks += [
            CocoEvaluation(
                val, max_detections=options.max_detections, every=options.eval_every,
                proposals=val_proposals,
            ),
            keras.callbacks.ModelCheckpoint(
                os.path.join(output, "best.keras"), mode="max", save_best_only=True,
                monitor=_MONITORED[config.task],
            ),
        ]  # fmt: skip
    callbacks += [
        keras.callbacks.TensorBoard(os.path.join(output, "logs"), write_graph=False),
        training.HistoryFile(os.path.join(output, "history.json"), resume=options.resume),
        training.StopAfter(steps),
    ]
    batches = data.batches(
        dataset, options.batch_size, training=True, min_side=config.image_min_side,
        max_side=config.image_max_side, resize_rule=config.resize_rule,
        padding_multiple=config.padding_multiple, seed=options.seed, repeat=True,
        proposals=proposals, max_proposals=config.train_proposals,
    )  # fmt: skip
    model.fit(
        batches, epochs=-(-steps // steps_per_epoch), steps_per_epoch=steps_per_epoch,
        callbacks=callbacks, verbose=verbose, shuffle=False,
    )  # fmt: skip
    model.save(os.path.join(output, "model.keras"))
    if not options.quiet:
        print(f"Wrote {os.path.join(output, 'model.keras')}.")


def _recipe(options, steps_per_epoch):
    """The numbers of a training run, as the flags and the preset have them."""
    from keras_maskrcnn import training

    steps = options.steps or (options.epochs or 0) * steps_per_epoch
    fields = dict(training.ADAMW) if options.optimizer == "adamw" else {}
    fields["learning_rate"] = options.learning_rate
    if options.recipe:
        return training.Recipe.named(options.recipe, options.batch_size, steps, **fields)
    fields = {**training.PRESET_RECIPES.get(options.preset, {}), **fields}
    return training.Recipe(steps or 12 * steps_per_epoch, options.batch_size, **fields)


def _start_from_weights(model, options):
    if not options.weights:
        return
    _require_file("weights", options.weights)
    if options.weights.endswith(".keras"):
        copied = model.copy_networks(_load_model(options.weights))
        if not options.quiet:
            print(f"{options.weights} gives {', '.join(copied)}.", flush=True)
    else:
        model.load_weights(options.weights)


def _freeze(model, names):
    from keras_maskrcnn.networks import NETWORKS

    for name in names:
        if name not in NETWORKS:
            raise ValueError(f"networks are {', '.join(NETWORKS)}. Received: freeze={name!r}.")
        if name in model.networks:
            model.networks[name].trainable = False


def evaluate(options):
    """Scores a model with pycocotools and writes the 12 box and 12 mask numbers as JSON."""
    from keras_maskrcnn import data
    from keras_maskrcnn.evaluation import evaluate as coco_evaluate

    _refuse_existing(options.output, options.overwrite)
    overrides = _config_overrides(options, leave_out=("proposals",))
    model = _load_model(options.model)
    if model.config.detections_per_image < options.max_detections:
        overrides.setdefault("detections_per_image", options.max_detections)
    model = _with_overrides(model, overrides)
    dataset = data.coco_json(
        options.images, options.annotations, category_ids=model.config.category_ids or None
    )
    metrics = coco_evaluate(
        model, dataset, max_detections=options.max_detections, per_class=options.per_class,
        proposals=_read_proposals(options.proposals), verbose=_verbose(options) % 2,
    )  # fmt: skip
    _write_metrics(options.output, metrics, options)


def propose(options):
    """Writes the proposals of an RPN into a folder, and average_recall.json with their recall."""
    from keras_maskrcnn import data, evaluation

    model = _with_overrides(_load_model(options.model), _config_overrides(options))
    dataset = data.coco_json(
        options.images, options.annotations, category_ids=model.config.category_ids or None
    )
    verbose = _verbose(options) % 2
    found = evaluation.propose(
        model, dataset, options.output, overwrite=options.overwrite, verbose=verbose
    )
    metrics = evaluation.average_recall(found, dataset, verbose=verbose)
    _write_metrics(os.path.join(options.output, "average_recall.json"), metrics, options)


def predict(options):
    """Draws detections on every image, and writes them as COCO results with file names."""
    from keras_maskrcnn import visualize
    from keras_maskrcnn.data.images import read_image
    from keras_maskrcnn.detections import coco_box, predict_image
    from keras_maskrcnn.ops import rle

    paths = _image_paths(options.input)
    if os.path.isdir(options.output) and os.listdir(options.output) and not options.overwrite:
        raise FileExistsError(
            f"the output folder is not empty; pass --overwrite or another. "
            f"Received: output={options.output!r}."
        )
    model = _with_overrides(_load_model(options.model), _config_overrides(options))
    names, ids = model.config.names(), model.config.ids()
    os.makedirs(options.output, exist_ok=True)
    results = []
    pictures = _picture_names(paths)
    for path, picture_name in zip(_progress(paths, options), pictures, strict=True):
        image, name = read_image(path), os.path.basename(path)
        found = predict_image(model, image)
        picture = visualize.draw(image, found, names, score_threshold=options.draw_threshold)
        visualize.save_png(os.path.join(options.output, picture_name), picture)
        boxes = zip(found["boxes"], found["scores"], found["labels"], strict=True)
        for i, (box, score, label) in enumerate(boxes):
            results.append({"file_name": name, **coco_box(box, score, label, ids)})
            if "masks" in found:
                mask = found["masks"][i]
                results[-1]["segmentation"] = rle.encode_region(mask, (0, 0), *mask.shape)
    with open(os.path.join(options.output, "predictions.json"), "w", encoding="utf-8") as file:
        json.dump(results, file)
    if not options.quiet:
        print(f"{len(results)} detections in {len(paths)} images; pictures in {options.output}.")


def export(options):
    """Writes the model as the next version of a SavedModel: OUTPUT/1, OUTPUT/2, ..."""
    model = _with_overrides(_load_model(options.model), _config_overrides(options))
    versions = [int(name) for name in _listdir(options.output) if name.isdigit()]
    model.export(
        os.path.join(options.output, str(max(versions, default=0) + 1)), verbose=not options.quiet
    )


def import_weights(options):
    """Writes a .keras file from the checkpoint of another framework, and says what became of it."""
    from keras_maskrcnn import weights
    from keras_maskrcnn.model import MaskRCNN

    _require_file("checkpoint", options.checkpoint)
    _refuse_existing(options.output, options.overwrite)
    _require_suffix("output", options.output)
    overrides = _config_overrides(options)
    if options.num_classes:
        overrides["num_classes"] = options.num_classes
    model = MaskRCNN(preset_config(options.preset, **overrides))
    weights.LOADERS[options.source](
        model, options.checkpoint, skip_predictors=options.skip_predictors,
        verbose=not options.quiet,
    )  # fmt: skip
    model.save(options.output)
    if not options.quiet:
        print(f"Wrote {options.output}.")


def convert(options):
    """Writes a COCO json from annotations of another tool, or from what is kept of a COCO json."""
    from keras_maskrcnn.data import formats

    _refuse_existing(options.output, options.overwrite)
    reader = formats.READERS[options.format]
    given = {name: getattr(options, name) for name in _FORMAT_FLAGS}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in inspect.signature(reader).parameters:
            raise ValueError(f"{options.format} has no {name}. Received: {name}={value!r}.")
    names = given.get("class_names")
    if names and not names.lower().endswith((".txt", ".yaml", ".yml")):
        given["class_names"] = [name.strip() for name in names.split(",")]
    dataset = reader(options.images, options.annotations, **given)
    _write_json(options.output, dataset.content())
    if not options.quiet:
        print(
            f"Wrote {options.output}: {len(dataset)} images, {len(dataset.counts)} instances, "
            f"{dataset.num_classes} classes."
        )
        print(dataset.report() or "Nothing was dropped.")


# Flags


def _train_flags(values):
    define = _Definer(values)
    define.string("images", None, "folder of the training images", required=True)
    define.string("annotations", None, "COCO json of the training images", required=True)
    define.string("val_images", None, "folder of the validation images")
    define.string("val_annotations", None, "COCO json of the validation images")
    define.string("preset", None, f"one of {', '.join(PRESETS)}", required=True)
    define.string("output", None, "folder for the model, its history, logs and backups", True)
    define.string("proposals", None, "proposals of the training images; there is no RPN then")
    define.string("val_proposals", None, "proposals of the validation images")
    define.string("recipe", None, "a schedule of the paper's or a peer's, see docs/recipes.md")
    define.integer("epochs", None, "passes over the images; default: the recipe's, or 12")
    define.integer("steps", None, "training steps in all, in place of epochs")
    define.integer("batch_size", 2, "images a step")
    define.enum("optimizer", "sgd", ["sgd", "adamw"], "the paper's SGD, or AdamW")
    define.float("learning_rate", None, "default: 0.02 for 16 images a step, or the preset's")
    define.integer("image_size", None, "shorter side in pixels; the longer side's limit follows")
    define.string(
        "weights",
        None,
        "where to start from: a .weights.h5 file of the same config, "
        "or a .keras file, of which the networks that both have are taken",
    )
    define.list("freeze", None, "networks that are not trained, for instance backbone,fpn")
    define.integer("eval_every", 1, "epochs between two validations")
    define.integer("max_detections", 100, "detections an image that a validation counts")
    define.integer("seed", 0, "of weights, order, flips")
    define.boolean("resume", False, "go on from the backup in --output")
    _define_config(define, (*_DATA_FIELDS, "proposals"))


def _evaluate_flags(values):
    define = _Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("output", None, "JSON file for the numbers", required=True)
    define.integer("max_detections", 100, "detections an image that count")
    define.boolean("per_class", False, "also write the AP of each class")
    define.string("proposals", None, "proposals of the images, for a model without RPN")
    define.boolean("overwrite", False, "replace an existing --output")
    _define_inference_config(define)


def _propose_flags(values):
    define = _Definer(values)
    define.string("model", None, "a .keras file with task=proposals", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("output", None, "folder for the proposals and their recall", required=True)
    define.boolean("overwrite", False, "replace proposals in --output")
    _define_inference_config(define, _PROPOSAL_FIELDS)


def _predict_flags(values):
    define = _Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("input", None, "an image or a folder of images", required=True)
    define.string("output", None, "folder for pictures and predictions.json", required=True)
    define.float("draw_threshold", 0.5, "lowest score that is drawn")
    define.boolean("overwrite", False, "write into a folder that is not empty")
    _define_inference_config(define)


def _export_flags(values):
    define = _Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("output", None, "folder; the model becomes its next version", required=True)
    _define_inference_config(define)


def _import_flags(values):
    define = _Definer(values)
    sources = [*PEERS, "matterport", "keras_applications"]
    define.enum("source", None, sources, "whose checkpoint it is", True)
    define.string("preset", None, f"one of {', '.join(PRESETS)}", required=True)
    define.string("checkpoint", None, "a .pth, .pkl, .npz, .h5 or .safetensors file", required=True)
    define.string("output", None, "the .keras file to write", required=True)
    define.integer("num_classes", None, "classes without background; default: the preset's")
    define.boolean("skip_predictors", False, "leave out the layers that depend on the classes")
    define.boolean("overwrite", False, "replace an existing --output")
    _define_config(define, _DATA_FIELDS)


def _convert_flags(values):
    from keras_maskrcnn.data.formats import READERS

    define = _Definer(values)
    define.enum("format", None, list(READERS), "what to read, see docs/data_formats.md", True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "file or folder of the annotations", required=True)
    define.string("output", None, "COCO json to write", required=True)
    define.string(
        "class_names",
        None,
        "names with commas between, or a .txt file with one in each line, or YOLO's data.yaml",
    )
    define.string("class_attribute", None, "via_json: the region's attribute that is its class")
    define.integer("label_divisor", None, "mask_images: pixels are class * this + instance")
    define.string("split", None, "voc: name of the list in ImageSets/Segmentation, as train")
    define.boolean("overwrite", False, "replace an existing --output")


COMMANDS = {
    "train": (train, _train_flags),
    "evaluate": (evaluate, _evaluate_flags),
    "propose": (propose, _propose_flags),
    "predict": (predict, _predict_flags),
    "export": (export, _export_flags),
    "import-weights": (import_weights, _import_flags),
    "convert": (convert, _convert_flags),
}


class _Definer:
    """Defines absl flags in a set of their own, so that commands do not share them."""

    def __init__(self, values):
        self._values = values
        self.boolean("quiet", False, "print nothing but errors")

    def _define(self, define, name, default, text, required=False):
        define(name, default, text, flag_values=self._values, required=required)

    def string(self, *args, **kwargs):
        self._define(flags.DEFINE_string, *args, **kwargs)

    def enum(self, name, default, choices, text, required=False):
        flags.DEFINE_enum(name, default, choices, text, flag_values=self._values, required=required)

    def integer(self, *args, **kwargs):
        self._define(flags.DEFINE_integer, *args, **kwargs)

    def float(self, *args, **kwargs):
        self._define(flags.DEFINE_float, *args, **kwargs)

    def boolean(self, *args, **kwargs):
        self._define(flags.DEFINE_boolean, *args, **kwargs)

    def list(self, *args, **kwargs):
        self._define(flags.DEFINE_list, *args, **kwargs)


def _define_config(define, leave_out):
    """Makes a flag of every config field; those that are not given keep the preset's value."""
    kinds = {int: define.integer, float: define.float, str: define.string, bool: define.boolean}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in leave_out:
            kind = kinds.get(field.type, define.list)
            kind(field.name, None, f"config; the paper's value is {field.default}")


def _define_inference_config(define, kept=_INFERENCE_FIELDS):
    """The config fields that can differ from those of training: weights do not depend on them."""
    fields = {field.name for field in dataclasses.fields(MaskRCNNConfig)}
    _define_config(define, fields - set(kept))


def _config_overrides(options, leave_out=()):
    """The config fields that were given as flags; `leave_out` names flags that are no fields."""
    overrides = {}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in options or field.name in leave_out:
            continue
        value = getattr(options, field.name)
        if isinstance(value, list):
            value = tuple(float(v) for v in value)
        if value is not None:
            overrides[field.name] = value
    return overrides


# Files


def _load_model(path):
    import keras

    from keras_maskrcnn.model import MaskRCNN

    _require_file("model", path)
    _require_suffix("model", path)
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a file that is none of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read as a Keras model: {reason}") from error
    if not isinstance(model, MaskRCNN):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a MaskRCNN.")
    return model


def _with_overrides(model, overrides):
    return model.with_config(**overrides) if overrides else model


def _read_proposals(path):
    from keras_maskrcnn import data

    return data.read_proposals(path) if path else None


def _write_json(path, content):
    """Writes under another name first, so that the file is never half there."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(f"{path}.new", path)


def _write_metrics(path, metrics, options):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(metrics, file, indent=1)
    if not options.quiet:
        for name, value in metrics.items():
            print(f"{name:<24} {value:.4f}")


def _require_file(name, path):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file. Received: {name}={path!r}.")


def _require_suffix(name, path):
    if not path.endswith(".keras"):
        raise ValueError(f"a model file ends in .keras. Received: {name}={path!r}.")


def _refuse_existing(path, overwrite):
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite or another --output.")


def _check_output(output, resume):
    taken = [name for name in ("model.keras", "backup") if name in _listdir(output)]
    if taken and not resume:
        raise FileExistsError(
            f"{output} holds {' and '.join(taken)} of an earlier run; pass --resume to go on from "
            "its backup, or another --output."
        )
    if resume and "backup" not in taken:
        raise FileNotFoundError(f"{output} holds no backup to resume from.")


def _listdir(path):
    return os.listdir(path) if os.path.isdir(path) else []


def _image_paths(path):
    from keras_maskrcnn.data.images import SUFFIXES

    if os.path.isfile(path):
        return [path]
    names = sorted(_listdir(path))
    chosen = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not chosen:
        raise FileNotFoundError(
            f"--input is an image or a folder with images ({', '.join(SUFFIXES)}). "
            f"Received: input={path!r}."
        )
    if len(chosen) < len(names):
        logging.warning("%d files in %s are no images.", len(names) - len(chosen), path)
    return [os.path.join(path, name) for name in chosen]


def _picture_names(paths):
    """a.jpg -> a.png; with the whole name, a.jpg.png, where only suffixes differ."""
    names = [os.path.basename(path) for path in paths]
    stems = [os.path.splitext(name)[0] for name in names]
    return [
        f"{stem if stems.count(stem) == 1 else name}.png"
        for name, stem in zip(names, stems, strict=True)
    ]


def _verbose(options):
    """Keras' verbosity: a bar on a terminal, a line an epoch elsewhere, nothing if quiet."""
    return 0 if options.quiet else 1 if sys.stdout.isatty() else 2


def _progress(items, options):
    import keras

    bar = keras.utils.Progbar(len(items), verbose=_verbose(options) % 2, unit_name="image")
    for i, item in enumerate(items):
        yield item
        bar.update(i + 1)


def main(argv=None):
    """Runs a command and exits with its status."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv):
    """Runs a command.

    Args:
        argv: list of str, the command and its flags.

    Returns:
        int, the exit status.
    """
    usage = f"usage: keras-maskrcnn {{{','.join(COMMANDS)}}} --flag=value ... (COMMAND --help)"
    if argv and argv[0] in ("help", "--help", "-h"):
        print(usage)
        return 0
    if not argv or argv[0] not in COMMANDS:
        print(usage, file=sys.stderr)
        return 2
    command, define = COMMANDS[argv[0]]
    values = flags.FlagValues()
    define(values)
    if set(argv[1:]) & {"--help", "-h"}:
        print(f"keras-maskrcnn {argv[0]}: {command.__doc__.splitlines()[0]}\n")
        print(values.get_help(include_special_flags=False))
        return 0
    try:
        rest = values([argv[0], *argv[1:]])
    except flags.Error as error:
        print(f"keras-maskrcnn {argv[0]}: {error}", file=sys.stderr)
        return 2
    if rest[1:]:
        print(f"keras-maskrcnn {argv[0]}: unexpected {rest[1]!r}", file=sys.stderr)
        return 2
    return _run_command(argv[0], command, values)


def _run_command(name, command, options):
    try:
        command(options)
    except (ValueError, OSError) as error:
        message = str(error)
    except Exception as error:
        # An error in the input pipeline comes wrapped by TensorFlow; ours is inside.
        from keras_maskrcnn.data.pipeline import data_error

        message = data_error(error)
        if message is None:
            raise
    else:
        return 0
    print(f"keras-maskrcnn {name}: {' '.join(message.split())}", file=sys.stderr)
    return 1
