"""The command `evaluate`."""

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer


def evaluate(options: flags.FlagValues) -> None:
    """Scores a model with pycocotools and writes the 12 box and 12 mask numbers as JSON."""
    from keras_maskrcnn.evaluation import evaluate as coco_evaluate

    paths.refuse_existing(options.output, options.overwrite)
    paths.refuse_inputs(options, options.output)
    overrides = config_overrides(options, leave_out=("proposals",))
    model = inputs.load_model(options.model)
    if model.config.detections_per_image < options.max_detections:
        overrides.setdefault("detections_per_image", options.max_detections)
    model = inputs.with_overrides(model, overrides)
    dataset = inputs.read_dataset(options, model.config)
    metrics = coco_evaluate(
        model,
        dataset,
        max_detections=options.max_detections,
        per_class=options.per_class,
        proposals=inputs.read_proposals(options.proposals),
        verbose=outputs.verbosity(options) % 2,
        on_error="skip",
    )
    outputs.write_metrics(options.output, metrics, options, dataset.skipped)
    outputs.report_unreadable(dataset.skipped, outputs.count_images(dataset), options)


def evaluate_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `evaluate`."""
    define = Definer(values)
    define.string("model", None, "a .keras file", required=True)
    define.string("images", None, "folder of the images", required=True)
    define.string("annotations", None, "COCO json", required=True)
    define.string("output", None, "JSON file for the numbers", required=True)
    define.integer(
        "max_detections",
        100,
        "detections per image that count; a model that gives fewer gives as many",
        low=11,
    )
    define.boolean("per_class", False, "also write the AP of each class")
    define.crowds()
    define.string("proposals", None, "proposals of the images, for a model without RPN")
    define.on_error("the numbers are those of the others")
    define.boolean("overwrite", False, "replace an existing --output")
    define_config(define, only=INFERENCE_FIELDS, of="model")
