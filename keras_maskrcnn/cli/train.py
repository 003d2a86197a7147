"""The command `train`."""

import functools
import os

from absl import logging

from keras_maskrcnn.cli.config_flags import (
    DATA_FIELDS,
    PRESETS_TEXT,
    config_overrides,
    define_config,
    set_image_size,
)
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.cli.inputs import load_model, read_proposals
from keras_maskrcnn.cli.outputs import verbosity
from keras_maskrcnn.cli.paths import listdir, refuse_inputs, require_file, require_writable
from keras_maskrcnn.distribution import STRATEGIES
from keras_maskrcnn.files import checksum
from keras_maskrcnn.presets import preset_config

# What decides which epoch's weights best.keras has.
_MONITORED = {"masks": "val_segm/AP", "boxes": "val_bbox/AP", "proposals": "val_bbox/AR1000"}
DOWNLOADS = ("coco", "imagenet")  # of --weights, as of MaskRCNN.from_preset
OWN = (".keras", ".weights.h5")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
AUGMENTATIONS = ("vertical_flip", "rotate90", "crop", "color", "large_scale_jitter", "copy_paste")


def train(options):
    """Trains a model on a COCO-format folder; writes model.keras, history.json, logs, backups."""
    import keras

    from keras_maskrcnn import data, distribution, training
    from keras_maskrcnn.evaluation import CocoEvaluation
    from keras_maskrcnn.weights import KERAS_CONVENTIONS

    # First of all: several workers are only found before TensorFlow has started.
    strategy = distribution.make_strategy(options.strategy, options.devices)
    writes = distribution.is_chief()
    options.quiet = options.quiet or not writes
    output, verbose = options.output, verbosity(options)
    _check_flags(options)
    goes_on = _goes_on(output, options.resume, writes)
    if writes:
        require_writable(output)
    refuse_inputs(options, os.path.join(output, "history.json"))
    keras.utils.set_random_seed(options.seed)
    overrides = config_overrides(options, leave_out=("proposals",))
    if options.proposals:
        overrides["proposals"] = "precomputed"
    set_image_size(overrides, options.image_size)
    if options.weights == "imagenet":
        overrides = {**KERAS_CONVENTIONS, **overrides}
    task = preset_config(options.preset, **overrides).task
    pastes = "copy_paste" in (options.augment or ())  # needs masks, if it is to train on boxes too
    reading = {
        "masks": task == "masks" or (None if pastes else False),
        "crowds": options.crowds,
        "on_error": options.on_error,
    }
    dataset = data.coco_json(options.images, options.annotations, **reading)
    data.require_instances(dataset)
    config = preset_config(
        options.preset,
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        category_ids=dataset.category_ids,
        **overrides,
    )
    proposals = read_proposals(options.proposals)
    val, val_proposals = None, read_proposals(options.val_proposals)
    if options.val_annotations:
        if (proposals is None) != (val_proposals is None):
            raise ValueError(
                "--proposals and --val_proposals go together. Received:"
                f" proposals={options.proposals!r}, val_proposals={options.val_proposals!r}."
            )
        val = data.coco_json(
            options.val_images or options.images,
            options.val_annotations,
            category_ids=dataset.category_ids,
            class_names=dataset.class_names,
            **reading,
        )
        data.require_instances(val)
    if options.batch_size < strategy.num_replicas_in_sync:
        raise ValueError(
            f"batch_size must be at least the number of replicas, {strategy.num_replicas_in_sync}. "
            f"Received: batch_size={options.batch_size}."
        )
    steps_per_epoch = len(dataset) // options.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"batch_size must be at most the number of images, {len(dataset)}. "
            f"Received: batch_size={options.batch_size}."
        )
    augmentations = _augmentations(options.augment or (), config.image_min_side)
    recipe = _recipe(options, steps_per_epoch)
    steps = recipe.steps
    shapes = dict(config.resizing(), max_proposals=config.train_proposals)
    with strategy.scope():
        model = _new_model(config, options, goes_on)
        training.freeze(model, options.freeze or ())
        model.compile(optimizer=recipe.optimizer())
    os.makedirs(output, exist_ok=True)
    if not options.quiet:
        print(f"{len(dataset)} images, {dataset.num_classes} classes; {recipe}", flush=True)

    callbacks, best = (
        [training.Throughput()],
        keras.callbacks.ModelCheckpoint(
            os.path.join(output, "best.keras"),
            mode="max",
            save_best_only=True,
            monitor=_MONITORED[config.task],
        ),
    )
    if recipe.ema_momentum is not None:  # what comes behind it evaluates and saves the average
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    validation_batches, logs = None, os.path.join(output, "logs")
    if val is not None:
        validation_batches = data.batches(
            val,
            options.batch_size,
            training=False,
            proposals=val_proposals,
            on_error=options.on_error,
            **shapes,
        )
        validation = CocoEvaluation(
            val,
            max_detections=options.max_detections,
            every=options.eval_every,
            proposals=val_proposals,
            on_error=options.on_error,
        )
        callbacks += [validation, best]
        if config.task != "proposals" and config.proposals == "joint":
            callbacks.append(training.Pictures(logs, val, every=options.eval_every, write=writes))
    sentinel = training.Sentinel(options.on_nonfinite, dataset)
    backup = training.Backup(
        os.path.join(output, "backup"),
        options.save_every,
        resume=goes_on,
        keep=[best, sentinel],
        write=writes,
        run=_identity(options, steps),
    )
    _refuse_other_length(backup, steps, output)
    callbacks += [
        sentinel,
        keras.callbacks.TensorBoard(logs, write_graph=False),
        training.HistoryFile(os.path.join(output, "history.json"), resume=goes_on),
        training.StopAfter(steps),
        *([training.EpochLine()] if verbose == 2 else []),
        backup,
    ]
    if not writes:
        writers = (
            keras.callbacks.ModelCheckpoint,
            keras.callbacks.TensorBoard,
            training.HistoryFile,
        )
        callbacks = [callback for callback in callbacks if not isinstance(callback, writers)]
    batches = data.batches(
        dataset,
        options.batch_size,
        training=True,
        seed=options.seed,
        repeat=True,
        first_step=backup.step,
        proposals=proposals,
        cache=options.cache,
        on_error=options.on_error,
        **shapes,
        **augmentations,
    )
    try:
        model.fit(
            batches,
            epochs=-(-steps // steps_per_epoch),
            initial_epoch=backup.epoch,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            verbose=verbose % 2,
            validation_data=validation_batches,
            validation_freq=options.eval_every,
            shuffle=False,
        )
    finally:
        backup.release_signals()
    if writes:
        model.save(os.path.join(output, "model.keras"))
    distribution.gather(strategy, [None])  # a worker that ended earlier would seem to have crashed
    if not options.quiet:
        print(f"Wrote {os.path.join(output, 'model.keras')}.")
        for name, read in (("", dataset), ("validation ", val)):
            if read is not None and read.skipped:
                names = ", ".join(sorted(read.skipped))
                print(f"Skipped {len(read.skipped)} {name}images: {names}.")


def _check_flags(options):
    """Raises what can be said of the flags before anything is read."""
    from keras_maskrcnn import training
    from keras_maskrcnn.weights.load import peer_of

    for name in ("val_images", "val_proposals"):
        if getattr(options, name) and not options.val_annotations:
            raise ValueError(
                f"--{name} needs --val_annotations. Received: {name}={getattr(options, name)!r}."
            )
    if (options.recipe or "paper") not in training.RECIPES:
        raise ValueError(
            f"recipes are {', '.join(training.RECIPES)}. Received: recipe={options.recipe!r}."
        )
    path = options.weights
    if path and path not in DOWNLOADS:
        require_file("weights", path)
        if not path.endswith(OWN) and not peer_of(options.preset):
            raise ValueError(
                f"weights of your models end in {' or '.join(OWN)}; checkpoints of other frameworks"
                " are for the presets that are named after them. "
                f"Received: weights={path!r}, preset={options.preset!r}."
            )


def _augmentations(names, side):
    """The arguments of `data.batches` that --augment stands for; `side` is the shorter side."""
    from keras_maskrcnn.data import augment

    partial = functools.partial
    known = {
        "vertical_flip": partial(augment.random_flip, horizontal=0.0, vertical=0.5),
        "rotate90": augment.random_rotate90,
        "crop": augment.random_crop,
        # As torchvision's references/detection, where they are SSD's.
        "color": partial(
            augment.color_jitter, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05
        ),
        "large_scale_jitter": partial(augment.large_scale_jitter, size=side),
    }
    for name in names:
        if name not in AUGMENTATIONS:
            expected = ", ".join(AUGMENTATIONS)
            raise ValueError(f"augmentations are {expected}. Received: augment={name!r}.")
    return {
        "augment": [known[name] for name in names if name in known],
        "copy_paste": augment.copy_paste if "copy_paste" in names else None,
    }


def _recipe(options, steps_per_epoch):
    """The numbers of a training run, as the flags and the preset have them."""
    from keras_maskrcnn import training

    steps = options.steps
    if steps is None and options.epochs is not None:
        steps = options.epochs * steps_per_epoch
    elif options.epochs is not None:
        logging.warning("--steps=%d is the length of the run, not --epochs.", steps)
    fields = dict(training.ADAMW) if options.optimizer == "adamw" else {}
    fields["learning_rate"] = options.learning_rate
    fields |= {"accumulate_steps": options.accumulate_steps, "ema_momentum": options.ema_momentum}
    if options.clip_norm is not None:
        fields["clip_norm"] = options.clip_norm or None
    if options.recipe:
        return training.Recipe.named(options.recipe, options.batch_size, steps, **fields)
    fields = {**training.PRESET_RECIPES.get(options.preset, {}), **fields}
    return training.Recipe(steps or 12 * steps_per_epoch, options.batch_size, **fields)


def _new_model(config, options, goes_on):
    """The model, with the weights that it starts from."""
    from keras_maskrcnn import weights
    from keras_maskrcnn.model import MaskRCNN

    make, path = functools.partial(MaskRCNN, dtype=options.dtype_policy), options.weights
    if goes_on or not path:
        return make(config)
    if path.endswith(OWN):
        model = make(config)
        source = load_model(path, "weights") if path.endswith(".keras") else path
        afresh = weights.start_from(model, source, path)
        if not options.quiet:
            print(
                f"{path} gives all weights"
                + (" but these, which start afresh:" if afresh else "."),
                *afresh,
                sep="\n  ",
                flush=True,
            )
        return model
    return weights.load_for_preset(make, options.preset, config, path, verbose=not options.quiet)


def _goes_on(output, resume, writes):
    """Whether to go on from a backup; FileExistsError if there is a run that would be lost."""
    from keras_maskrcnn.training.backup import backup_paths
    from keras_maskrcnn.training.lock import lock_folder

    backups = backup_paths(os.path.join(output, "backup"))
    if backups and writes:
        lock_folder(os.path.join(output, "backup"))  # fails if that run has not ended
    taken = [name for name in ("model.keras", "best.keras") if name in listdir(output)]
    taken += ["backup"] if backups else []
    if taken and not (resume and backups):
        further = f", with --weights={os.path.join(output, taken[0])} to train that further"
        raise FileExistsError(
            f"{output} holds {', '.join(taken)} of an earlier run; pass "
            + ("--resume to go on from its backup, or " if backups else "")
            + f"another --output{further if taken[0] != 'backup' else ''}."
        )
    if resume and not backups:
        logging.warning("%s holds no backup: a new run begins.", output)
    return bool(backups)


def _refuse_other_length(backup, steps, output):
    """Raises ValueError if a run would go on with another number of steps, and names the way."""
    stored = (backup.stored_run or {}).get("steps", steps)
    if stored != steps:
        raise ValueError(
            f"{output} is a run of {stored} steps, from which its learning rates follow, and only "
            "the same run can go on from its backup. To train longer, let it end, and begin "
            f"another run from its weights: --weights={output}/model.keras --output=ANOTHER. "
            f"Received: steps={steps}."
        )


def _identity(options, steps):
    """What must be the same in a run that goes on, beside the config and the optimizer."""
    return {
        "steps": steps,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "augment": ",".join(options.augment or ()),
        "freeze": ",".join(options.freeze or ()),
        "max_detections": options.max_detections,
        "annotations": checksum(options.annotations),
        "val_annotations": checksum(options.val_annotations),
        **({} if options.crowds == "drop" else {"crowds": options.crowds}),
    }


def train_flags(values):
    """Defines the flags of `train`."""
    define = Definer(values)
    define.string("images", None, "folder of the training images", required=True)
    define.string("annotations", None, "COCO json of the training images", required=True)
    define.string("val_images", None, "folder of the validation images")
    define.string("val_annotations", None, "COCO json of the validation images")
    define.string("preset", None, PRESETS_TEXT, required=True)
    define.string(
        "output", None, "folder for the model, its history, logs and backups", required=True
    )
    define.string("proposals", None, "proposals of the training images; there is no RPN then")
    define.string("val_proposals", None, "proposals of the validation images")
    define.string("recipe", None, "a schedule of the paper's or a peer's, see docs/recipes.md")
    define.integer("epochs", None, "passes over the images; default: the recipe's, or 12", low=1)
    define.integer("steps", None, "training steps in all, in place of epochs", low=1)
    define.integer("batch_size", 2, "images a step, of all replicas together", low=1)
    define.enum(
        "strategy",
        "none",
        STRATEGIES,
        "one device, several of this machine, or the machines of TF_CONFIG: docs/distribution.md",
    )
    define.list("devices", None, "of --strategy=mirrored, as in GPU:0,GPU:1; default: all GPUs")
    define.enum("dtype_policy", "float32", DTYPE_POLICIES, "what the networks compute in")
    define.enum("optimizer", "sgd", ["sgd", "adamw"], "the paper's SGD, or AdamW")
    define.float(
        "learning_rate", None, "default: 0.02 for 16 images a step, or the preset's", low=0
    )
    define.integer(
        "image_size", None, "shorter side in pixels; the longer side's limit follows", low=1
    )
    define.string(
        "weights",
        None,
        "where to start from: the .keras or .weights.h5 file of a model of yours, which may have "
        "other classes; coco or imagenet, which are downloaded; or a checkpoint of the framework "
        "that the preset is named after",
    )
    define.list(
        "freeze", None, "networks or stages that are not trained, as in backbone:stem,backbone:res2"
    )
    define.float(
        "clip_norm", None, "bound of the gradients' norm; 0: none; default: the recipe's", low=0
    )
    define.integer(
        "accumulate_steps", 1, "batches whose gradients make one change of the weights", low=1
    )
    define.float(
        "ema_momentum", None, "evaluate and save a running average of the weights", low=0, high=1
    )
    define.enum(
        "on_nonfinite", "stop", ["stop", "skip"], "what to do if a step's loss is not finite"
    )
    define.list("augment", None, f"any of {', '.join(AUGMENTATIONS)}; done in your order")
    define.boolean("cache", False, "keep decoded images and masks in memory")
    define.enum("on_error", "raise", ["raise", "skip"], "what to do if an image is unreadable")
    define.crowds()
    define.integer("eval_every", 1, "epochs between two validations", low=1)
    define.integer("max_detections", 100, "detections an image that a validation counts", low=11)
    define.integer("seed", 0, "of weights, order, flips", low=0, high=2**32 - 1)
    define.integer("save_every", 200, "steps between two backups", low=1)
    define.boolean("resume", False, "go on from the backup in --output, if there is one")
    define_config(define, (*DATA_FIELDS, "proposals"))
