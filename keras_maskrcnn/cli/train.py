"""The command `train`."""

import functools
import os
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from keras_maskrcnn.cli import tiles
from keras_maskrcnn.cli.config_flags import (
    DATA_FIELDS,
    IMAGE_SIZE_TEXT,
    PRESETS_TEXT,
    config_overrides,
    define_config,
    set_image_size,
)
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.cli.inputs import load_model, read_proposals
from keras_maskrcnn.cli.outputs import verbosity
from keras_maskrcnn.cli.paths import refuse_inputs, require_file, require_writable
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.files import checksum
from keras_maskrcnn.presets import PRESETS, preset_config

if TYPE_CHECKING:
    from keras_maskrcnn.model import MaskRCNN
    from keras_maskrcnn.training.backup import Backup

DOWNLOADS = ("coco", "imagenet")  # values of --weights, as in MaskRCNN.from_preset
OWN = (".keras", ".weights.h5")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
# Flags that are also arguments of `training.Run`.
_OF_THE_RUN = (
    "seed",
    "eval_every",
    "max_detections",
    "save_every",
    "on_nonfinite",
    "on_error",
)
AUGMENTATIONS = ("vertical_flip", "rotate90", "crop", "color", "large_scale_jitter", "copy_paste")


def train(options: flags.FlagValues) -> None:
    """Trains a model on a COCO data set; writes model.keras, history.json, logs and backups."""
    import keras

    from keras_maskrcnn import distribution, training

    # This comes first, because workers find each other only before TensorFlow has started.
    strategy = distribution.make_strategy(options.strategy, options.devices)
    writes = distribution.is_chief()
    options.quiet = options.quiet or not writes  # type: ignore[assignment]  # absl takes any
    _check_flags(options)
    goes_on = _goes_on(options.output, options.resume, writes)
    if writes:
        require_writable(options.output)
    refuse_inputs(options, os.path.join(options.output, "history.json"))
    keras.utils.set_random_seed(options.seed)
    config, dataset, val, proposals = _read_inputs(options)
    replicas = strategy.num_replicas_in_sync
    epoch = training.steps_per_epoch(dataset, options.batch_size, replicas)
    augmentations = _augmentations(options.augment or (), config.image_min_side)
    recipe = _recipe(options, epoch)
    with strategy.scope():
        model = new_model(config, options, goes_on)
        training.freeze(model, options.freeze or ())
    if not options.quiet:
        print(f"{len(dataset)} images, {dataset.num_classes} classes; {recipe}", flush=True)
    run = training.Run(
        model,
        recipe,
        dataset,
        options.output,
        val=val,
        resume=goes_on,
        identity=_identity(options),
        verbose=verbosity(options),
        cache=options.cache,
        **{name: getattr(options, name) for name in _OF_THE_RUN},
        **proposals,
        **augmentations,
    )
    refuse_other_length(run.backup, recipe.steps, options.output)
    run.fit()
    if not options.quiet:
        _report(options.output, dataset, val)


def _read_inputs(options):
    """Reads the data sets and proposals.

    Returns:
        the config; the `CocoDataset` for training; that for validation, or None; a dict with
        `proposals` and `val_proposals`.
    """
    overrides = _overrides(options)
    kind = preset_config(options.preset, **overrides)
    dataset = _read_dataset(options, kind, options.images, options.annotations)
    classes = {
        "class_names": dataset.class_names,
        "category_ids": dataset.category_ids,
    }
    config = preset_config(options.preset, num_classes=dataset.num_classes, **classes, **overrides)
    proposals = {
        name: read_proposals(getattr(options, name)) for name in ("proposals", "val_proposals")
    }
    val = None
    if options.val_annotations:
        if (proposals["proposals"] is None) != (proposals["val_proposals"] is None):
            raise ValueError(
                "--proposals and --val_proposals must be given together. Received:"
                f" proposals={options.proposals!r}, val_proposals={options.val_proposals!r}."
            )
        val = _read_dataset(
            options, kind, options.val_images or options.images, options.val_annotations, **classes
        )
    return config, dataset, val, proposals


def _overrides(options):
    """Returns the config fields that the flags set."""
    from keras_maskrcnn.weights import imagenet_fields

    overrides = config_overrides(options, leave_out=("proposals",))
    if options.proposals:
        overrides["proposals"] = "precomputed"
    set_image_size(overrides, options.image_size)
    if options.weights == "imagenet":
        overrides = {**imagenet_fields(options.preset, overrides), **overrides}
    return overrides


def _read_dataset(options, config, images, annotations, **classes):
    """Reads a data set for a config, whose classes do not count."""
    from keras_maskrcnn import data

    pastes = "copy_paste" in (options.augment or ())  # it needs masks even if the task is boxes
    dataset = data.coco_json(
        images,
        annotations,
        masks=config.task == "masks" or (None if pastes else False),
        orientation=options.orientation,
        **config.reading(),
        **tiles.reading(options),
        **classes,
    )
    # Of the validation images, which come with the classes, all tiles count.
    dataset = tiles.in_tiles(dataset, options, **({"empty_tiles": 1.0} if classes else {}))
    data.require_instances(dataset)
    if not options.quiet:
        tiles.print_counts(dataset)
    return dataset


def _report(output, dataset, val):
    """Prints which file was written and which images were skipped."""
    print(f"Wrote {os.path.join(output, 'model.keras')}.")
    for name, read in (("", dataset), ("validation ", val)):
        if read is not None and read.skipped:
            names = ", ".join(sorted(read.skipped))
            print(f"Skipped {len(read.skipped)} {name}images: {names}.")


def _check_flags(options):
    """Raises the errors that can be found before a data set or a model is read."""
    from keras_maskrcnn import training
    from keras_maskrcnn.weights.load import peer_of
    from keras_maskrcnn.weights.published import is_for_backbone

    tiles.check_tiles(options)
    if options.tile is not None and options.proposals:
        raise ValueError(
            "--proposals are of whole images, so they exclude --tile: train on tiles that convert"
            f" --tile wrote. Received: tile={options.tile}, proposals={options.proposals!r}."
        )

    for name in ("val_images", "val_proposals"):
        if getattr(options, name) and not options.val_annotations:
            raise ValueError(
                f"--{name} needs --val_annotations. Received: {name}={getattr(options, name)!r}."
            )
    if (options.recipe or "paper") not in training.RECIPES:
        raise ValueError(
            f"recipe must be one of {', '.join(training.RECIPES)}. "
            f"Received: recipe={options.recipe!r}."
        )
    path = options.weights
    if path and path not in DOWNLOADS:
        backbone = options.backbone or PRESETS.get(options.preset, {}).get("backbone", "")
        if os.path.exists(path) and is_for_backbone(path, backbone):
            return
        if not os.path.exists(path) and not os.path.splitext(path)[1]:  # as "none"
            raise ValueError(
                "weights must be 'coco', 'imagenet' or a file; without --weights, training starts "
                f"from random weights. Received: weights={path!r}."
            )
        require_file("weights", path)
        if not path.endswith(OWN) and not peer_of(options.preset):
            raise ValueError(
                f"weights of a model of yours must end in {' or '.join(OWN)}; a checkpoint of "
                "another framework needs a preset that is named after that framework. "
                f"Received: weights={path!r}, preset={options.preset!r}."
            )


def _augmentations(names, side):
    """Returns the arguments of `data.batches` for --augment; `side` is the image's shorter side."""
    from keras_maskrcnn.data import augment

    partial = functools.partial
    known = {
        "vertical_flip": partial(augment.random_flip, horizontal=0.0, vertical=0.5),
        "rotate90": augment.random_rotate90,
        "crop": augment.random_crop,
        # The numbers of torchvision's references/detection, which uses them for SSD.
        "color": partial(
            augment.color_jitter, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05
        ),
        "large_scale_jitter": partial(augment.large_scale_jitter, size=side),
    }
    for name in names:
        if name not in AUGMENTATIONS:
            expected = ", ".join(AUGMENTATIONS)
            raise ValueError(f"augment must be any of {expected}. Received: augment={name!r}.")
    return {
        "augment": [known[name] for name in names if name in known],
        "copy_paste": augment.copy_paste if "copy_paste" in names else None,
    }


def _recipe(options, steps_per_epoch):
    """Returns the `training.Recipe` that the flags and the preset describe."""
    from keras_maskrcnn import training

    steps = options.steps
    if steps is None and options.epochs is not None:
        steps = options.epochs * steps_per_epoch
    elif options.epochs is not None:
        logging.warning("--steps=%d sets the length of the run; --epochs is ignored.", steps)
    fields: dict[str, Any] = dict(training.ADAMW) if options.optimizer == "adamw" else {}
    fields["learning_rate"] = options.learning_rate
    fields |= {"accumulate_steps": options.accumulate_steps, "ema_momentum": options.ema_momentum}
    if options.layer_decay is not None:
        fields["layer_decay"] = options.layer_decay
    if options.clip_norm is not None:
        fields["clip_norm"] = options.clip_norm or None
    if options.recipe:
        return training.Recipe.named(options.recipe, options.batch_size, steps, **fields)
    fields = {**training.PRESET_RECIPES.get(options.preset, {}), **fields}
    return training.Recipe(steps or 12 * steps_per_epoch, options.batch_size, **fields)


def new_model(config: MaskRCNNConfig, options: flags.FlagValues, goes_on: bool) -> "MaskRCNN":
    """Makes the model, with its initial weights unless the run continues from a backup."""
    from keras_maskrcnn import weights
    from keras_maskrcnn.model import MaskRCNN

    make, path = functools.partial(MaskRCNN, dtype=options.dtype_policy), options.weights
    if goes_on or not path:
        return make(config)
    if path.endswith(OWN) and not weights.published.is_for_backbone(path, config.backbone):
        model = make(config)
        source = load_model(path, "weights") if path.endswith(".keras") else path
        afresh = weights.start_from(model, source, path)
        if not options.quiet:
            print(
                f"Loaded {path}" + (", but these weights start afresh:" if afresh else "."),
                *afresh,
                sep="\n  ",
                flush=True,
            )
        return model
    return weights.load_for_preset(make, options.preset, config, path, verbose=not options.quiet)


def _goes_on(output, resume, writes):
    """Returns whether to continue from a backup; raises FileExistsError if a run would be lost."""
    from keras_maskrcnn.training.lock import lock_folder
    from keras_maskrcnn.training.run import earlier_files

    taken = earlier_files(output)
    backups = "backup" in taken
    if backups and writes:
        lock_folder(os.path.join(output, "backup"))  # fails if that run has not ended
    if taken and not (resume and backups):
        further = f", with --weights={os.path.join(output, taken[0])} to train it further"
        raise FileExistsError(
            f"{output} holds {', '.join(taken)} of an earlier run; pass "
            + ("--resume to continue from its backup, or " if backups else "")
            + f"another --output{further if taken[0] != 'backup' else ''}."
        )
    if resume and not backups:
        logging.warning("%s holds no backup: a new run starts.", output)
    return backups


def refuse_other_length(backup: "Backup", steps: int, output: str) -> None:
    """Raises ValueError if a backup's run has another number of steps; says what to do instead."""
    stored = (backup.stored_run or {}).get("steps", steps)
    if stored != steps:
        raise ValueError(
            f"the run in {output} has {stored} steps, which set its learning rates, so it cannot "
            "continue with another number. To train longer, let it end, then start another run "
            f"from its weights: --weights={output}/model.keras --output=ANOTHER. "
            f"Received: steps={steps}."
        )


def _identity(options):
    """Returns what must not change when a run continues, besides what `training.Run` compares."""
    return {
        "augment": ",".join(options.augment or ()),
        "freeze": ",".join(options.freeze or ()),
        "annotations": checksum(options.annotations),
        "val_annotations": checksum(options.val_annotations),
        **dict.fromkeys(("images", "val_images")),  # None, as in backups from version 0.1
        **({} if tiles.crowds(options) == "drop" else {"crowds": tiles.crowds(options)}),
        **({"orientation": options.orientation} if options.orientation else {}),
        **tiles.identity(options),
    }


def train_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `train`."""
    define = Definer(values)
    _define_inputs(define)
    _define_recipe(define)
    _define_run(define)
    define_config(define, (*DATA_FIELDS, "proposals"))


def _define_inputs(define):
    define.string("images", None, "Folder of the training images.", required=True)
    define.string("annotations", None, "COCO json of the training images.", required=True)
    define.string("val_images", None, "Folder of the validation images. Default: --images.")
    define.string(
        "val_annotations", None, "COCO json of the validation images. Default: no validation."
    )
    define.string("preset", None, f"{PRESETS_TEXT}.", required=True)
    define.string(
        "output", None, "Folder for the model, its history, logs and backups.", required=True
    )
    tiles.tile_flags(define)
    define.string("proposals", None, "Proposals of the training images; the model then has no RPN.")
    define.string("val_proposals", None, "Proposals of the validation images.")


def _define_recipe(define):
    define.string(
        "recipe", None, "Name of a schedule of the paper or of a peer; see docs/recipes.md."
    )
    define.integer(
        "epochs", None, "Passes over the images. Default: the recipe's length, or 12.", low=1
    )
    define.integer("steps", None, "Training steps in total, instead of --epochs.", low=1)
    define.integer("batch_size", 2, "Images per step, of all replicas together.", low=1)
    define.enum(
        "strategy",
        "none",
        ["none", "mirrored", "multi_worker"],
        "Devices to train on. none: one. mirrored: several of this machine. multi_worker: the "
        "machines in TF_CONFIG. See docs/distribution.md.",
    )
    define.list(
        "devices",
        None,
        "Devices of --strategy=mirrored, such as GPU:0,GPU:1. Default: all GPUs.",
    )
    define.enum(
        "dtype_policy", "float32", DTYPE_POLICIES, "Data type in which the networks compute."
    )
    define.enum("optimizer", "sgd", ["sgd", "adamw"], "The paper's SGD, or AdamW.")
    define.float(
        "learning_rate",
        None,
        "Learning rate after the warm-up. Default: in proportion to the images per update, "
        "usually 0.02 for 16 (AdamW: 0.004); some presets and recipes have other numbers.",
        low=0,
    )
    define.integer("image_size", None, IMAGE_SIZE_TEXT, low=1)
    define.string(
        "weights",
        None,
        "Initial weights. A .keras or .weights.h5 file of a model of yours, which may have other "
        "classes; coco or imagenet, which are downloaded; or a checkpoint of the framework that "
        "the preset is named after. With a backbone of Keras, an .h5 file of Keras' layout. With a "
        "ResNet, imagenet also sets pixel_mean, pixel_std and stride_in_1x1, "
        "unless they are given.",
    )
    define.list(
        "freeze",
        None,
        "Networks or stages that are not trained, such as backbone:stem,backbone:res2.",
    )
    define.float(
        "clip_norm",
        None,
        "Largest norm of all gradients together; 0: no limit. Default: the recipe's.",
        low=0,
    )
    define.float(
        "layer_decay",
        None,
        "Factor of the learning rate per block of the backbone, counted from the neck; 1: none. "
        "Default: the recipe's.",
        low=0,
        high=1,
    )
    define.integer(
        "accumulate_steps",
        1,
        "Batches per update of the weights, which uses the mean of their gradients.",
        low=1,
    )
    define.float(
        "ema_momentum",
        None,
        "Momentum of a running average of the weights, which is then evaluated and saved instead "
        "of the weights. Default: no average.",
        low=0,
        high=1,
    )


def _define_run(define):
    define.enum(
        "on_nonfinite",
        "stop",
        ["stop", "skip"],
        "What to do if a loss or gradient is not finite: stop training or skip the step.",
    )
    define.list(
        "augment",
        None,
        f"Augmentations, applied in the given order; any of {', '.join(AUGMENTATIONS)}.",
    )
    define.boolean("cache", False, "Keep decoded images and masks in memory.")
    define.enum(
        "on_error",
        "raise",
        ["raise", "skip"],
        "What to do if an image cannot be read: stop (raise) or leave it out (skip).",
    )
    define.crowds()
    define.orientation(None)
    define.integer("eval_every", 1, "Epochs between two validations.", low=1)
    define.integer(
        "max_detections", 100, "Detections per image that count in a validation.", low=11
    )
    define.integer(
        "seed",
        0,
        "Seed of the initial weights, the order of images and the augmentations.",
        low=0,
        high=2**32 - 1,
    )
    define.integer("save_every", 200, "Steps between two backups.", low=1)
    define.boolean("resume", False, "Continue from the backup in --output, if there is one.")
