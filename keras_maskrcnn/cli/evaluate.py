"""The command `evaluate`."""

import os
from typing import Any

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, predict_tiles
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer


def evaluate(options: flags.FlagValues) -> None:
    """Scores a model with pycocotools; writes COCO's 12 box and 12 mask metrics as JSON."""
    from keras_maskrcnn.analysis import reporting
    from keras_maskrcnn.evaluation import evaluate as coco_evaluate
    from keras_maskrcnn.evaluation.engines import check_engine
    from keras_maskrcnn.evaluation.measures.named import check_measures

    check_engine(options.engine)
    check_measures(options.measures)
    paths.refuse_existing(options.output, options.overwrite)
    paths.refuse_inputs(options, options.output)
    if options.report:
        reporting.refuse_filled(options.report, options.overwrite)
        written = [os.path.join(options.report, x) for x in (reporting.PAGE, reporting.NUMBERS)]
        paths.refuse_inputs(options, *written, flag="report")
        if os.path.realpath(options.output) in map(os.path.realpath, written):
            raise ValueError(
                f"--report would replace --output. Received: output={options.output!r}."
            )
        paths.require_writable(options.report, "report")
    overrides = config_overrides(options, leave_out=("proposals",))
    model = inputs.load_predictor(options)
    replaceable = getattr(model, "replaceable", INFERENCE_FIELDS)  # of an exported model
    if options.overlap is not None and not options.tile:
        raise ValueError(f"--overlap needs --tile. Received: overlap={options.overlap}.")
    few = model.config.detections_per_image < options.max_detections
    if few and "detections_per_image" in replaceable:
        overrides.setdefault("detections_per_image", options.max_detections)
    model = inputs.with_overrides(model, overrides)
    if options.report and model.config.task == "proposals":
        raise ValueError(
            f"--report needs a model that finds objects. Received: task={model.config.task!r}."
        )
    dataset = inputs.read_dataset(options, model.config)
    kept: list[tuple[list[dict[str, Any]], list[Any]]] = []
    metrics = coco_evaluate(
        model,
        dataset,
        max_detections=options.max_detections,
        per_class=options.per_class,
        proposals=inputs.read_proposals(options.proposals),
        verbose=outputs.verbosity(options) % 2,
        on_error="skip",
        tile=options.tile,
        overlap=options.overlap,
        measures=options.measures,
        measures_threshold=options.measures_threshold,
        engine=options.engine,
        on_results=lambda *found: kept.append(found),
    )
    outputs.write_metrics(options.output, metrics, options, dataset.skipped)
    if options.report:
        ((results, image_ids),) = kept
        reporting.report(
            options.report,
            results,
            dataset.annotations,
            images=options.images,
            title=f"Evaluation of {os.path.basename(options.annotations)}",
            overwrite=options.overwrite,
            iou_type="segm" if model.config.task == "masks" else "bbox",
            max_detections=options.max_detections,
            category_ids=dataset.category_ids,
            image_ids=image_ids,
            metrics=metrics,
        )
        if not options.quiet:
            print(f"{reporting.PAGE} is in {options.report}; see docs/report.md.")
    outputs.report_unreadable(dataset.skipped, outputs.count_images(dataset), options)


def evaluate_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `evaluate`."""
    define = Definer(values)
    inputs.predictor_flags(define)
    define.string("images", None, "Folder of the images.", required=True)
    define.string("annotations", None, "COCO json of the images.", required=True)
    define.string("output", None, "JSON file to write the metrics to.", required=True)
    define.string(
        "report",
        None,
        "Folder for report.html, with curves, errors and pictures of the worst images, report.json "
        "and plots as SVG.",
    )
    define.integer(
        "max_detections",
        100,
        "Detections per image that count. A lower detections_per_image of the model is raised to "
        "this.",
        low=11,
    )
    define.boolean("per_class", False, "Also write the AP of each class.")
    define.list(
        "measures",
        [],
        "More measures than COCO's, one or several of boundary, count, dsb, lvis, masks, pq, seg; "
        "see docs/measures.md.",
    )
    define.float(
        "measures_threshold",
        0.5,
        "Detections below it are left out by the measures count, dsb, masks, pq and seg.",
        low=0,
        high=1,
    )
    define.enum(
        "engine",
        "pycocotools",
        ["pycocotools", "faster_coco_eval"],
        "Package that computes COCO's numbers, which are the same. faster_coco_eval needs the "
        "extra engine.",
    )
    predict_tiles.grid_flags(define)
    define.crowds()
    define.orientation(None)
    define.string("proposals", None, "Proposals of the images, for a model without an RPN.")
    define.on_error("The other images are scored in both cases.")
    define.boolean(
        "overwrite", False, "Replace --output if it exists, and write into a filled --report."
    )
    define_config(define, only=INFERENCE_FIELDS, of="model")
