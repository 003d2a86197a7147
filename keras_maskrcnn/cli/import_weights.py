"""The command `import-weights`."""

from absl import flags

from keras_maskrcnn.cli import outputs, paths
from keras_maskrcnn.cli.config_flags import (
    DATA_FIELDS,
    PRESETS_TEXT,
    config_overrides,
    define_config,
)
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config_rules import PEERS
from keras_maskrcnn.presets import preset_config


def import_weights(options: flags.FlagValues) -> None:
    """Converts a checkpoint of another framework to a .keras file, and prints what was loaded."""
    from keras_maskrcnn import weights
    from keras_maskrcnn.model import MaskRCNN

    paths.require_file("checkpoint", options.checkpoint)
    paths.refuse_existing(options.output, options.overwrite)
    paths.require_suffix("output", options.output)
    paths.refuse_inputs(options, options.output)
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
    outputs.make_folder_of(options.output)
    model.save(options.output)
    if not options.quiet:
        print(f"Wrote {options.output}.")


def import_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `import-weights`."""
    define = Definer(values)
    sources = [*PEERS, "matterport", "keras_applications"]
    define.enum("source", None, sources, "Framework that wrote the checkpoint.", required=True)
    define.string("preset", None, f"{PRESETS_TEXT}.", required=True)
    define.string(
        "checkpoint", None, "A .pth, .pkl, .npz, .h5 or .safetensors file.", required=True
    )
    define.string("output", None, "The .keras file to write.", required=True)
    define.integer(
        "num_classes",
        None,
        "Number of classes, without the background. Default: the preset's.",
        low=1,
    )
    define.boolean(
        "skip_predictors", False, "Do not load the layers that depend on the number of classes."
    )
    define.boolean("overwrite", False, "Replace --output if it exists.")
    define_config(define, DATA_FIELDS)
