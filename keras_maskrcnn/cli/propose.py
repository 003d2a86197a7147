"""The command `propose`."""

import os

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths
from keras_maskrcnn.cli.config_flags import PROPOSAL_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer


def propose(options: flags.FlagValues) -> None:
    """Writes an RPN's proposals into a folder, and their recall to average_recall.json in it."""
    from keras_maskrcnn import evaluation

    paths.require_writable(options.output)
    written = ("index.json", "average_recall.json")
    paths.refuse_inputs(options, *(os.path.join(options.output, name) for name in written))
    model = inputs.with_overrides(inputs.load_model(options.model), config_overrides(options))
    dataset = inputs.read_dataset(options, model.config)
    verbose = outputs.verbosity(options) % 2
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
    outputs.write_metrics(path, metrics, options, dataset.skipped)
    outputs.report_unreadable(dataset.skipped, outputs.count_images(dataset), options)


def propose_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `propose`."""
    define = Definer(values)
    define.string("model", None, "The model, a .keras file with task=proposals.", required=True)
    define.string("images", None, "Folder of the images.", required=True)
    define.string("annotations", None, "COCO json of the images.", required=True)
    define.string("output", None, "Folder for the proposals and their recall.", required=True)
    define.on_error("The other images get proposals in both cases.")
    define.boolean("overwrite", False, "Replace proposals in --output.")
    define.crowds()
    define.orientation(None)
    define_config(define, only=PROPOSAL_FIELDS, of="model")
