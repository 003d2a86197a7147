"""The command `predict`."""

import collections
import os
from typing import Literal

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, pictures, predict_video
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer


def predict(options: flags.FlagValues) -> None:
    """Draws the detections of each image, and writes all as COCO results to predictions.json."""
    if predict_video.is_video(options):
        predict_video.predict_video(options)
        return
    from keras_maskrcnn import visualize
    from keras_maskrcnn.data.images import log_remarks, read_with_remarks
    from keras_maskrcnn.detections import predict_image

    folder = options.input if os.path.isdir(options.input) else os.path.dirname(options.input)
    pictures.refuse_filled(options, folder)
    names = inputs.list_images(options.input, options.output)
    images = [os.path.join(folder, name) for name in names]
    model = inputs.with_overrides(inputs.load_predictor(options), config_overrides(options))
    classes = model.config.names()
    # With a single class, a color per instance shows neighbors apart.
    color_by: Literal["class", "instance"] = "class" if len(classes) > 1 else "instance"
    drawn = [os.path.join(options.output, name) for name in pictures.picture_names(names)]
    written = os.path.join(options.output, "predictions.json")
    paths.refuse_inputs(options, *drawn, written, images=images)
    os.makedirs(options.output, exist_ok=True)
    results, done, remarked = [], 0, collections.defaultdict(list)
    unreadable: list[str] = []
    alone = len(images) == 1
    try:
        for i, name in enumerate(outputs.progress(names, options)):
            with pictures.left_out_if_unreadable(name, unreadable, options, alone):
                image, remarks = read_with_remarks(images[i])
                for remark in remarks:
                    remarked[remark].append(name)
                found = predict_image(model, image)
                results += _coco_results(name, found, model.config.ids())
                picture = visualize.draw(
                    image, found, classes, score_threshold=options.draw_threshold, color_by=color_by
                )
                visualize.save_png(drawn[i], picture)
                done += 1
    finally:  # also if the command was stopped
        log_remarks(remarked)
        if done or results or unreadable:
            outputs.write_output(written, results)
    if not options.quiet:
        print(f"{len(results)} detections in {done} images; pictures in {options.output}.")
    outputs.report_unreadable(unreadable, len(images), options)


def _coco_results(name, found, ids):
    """Returns an image's detections as COCO results, with `file_name` instead of `image_id`."""
    from keras_maskrcnn.detections import coco_box

    results = []
    boxes = zip(found["boxes"], found["scores"], found["labels"], strict=True)
    for i, (box, score, label) in enumerate(boxes):
        results.append({"file_name": name, **coco_box(box, score, label, ids)})
        if "masks" in found:
            results[-1]["segmentation"] = found["masks"].rle(i)
    return results


def predict_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `predict`."""
    define = Definer(values)
    inputs.predictor_flags(define)
    define.string(
        "input",
        None,
        "An image, or a folder of images; its subfolders count too. Or a video, or the URL of a "
        "stream.",
        required=True,
    )
    define.string("output", None, "Folder for the pictures and predictions.json.", required=True)
    define.float(
        "draw_threshold", 0.5, "Lowest score of the detections that are drawn.", low=0, high=1
    )
    predict_video.video_flags(define)
    define.on_error("The other images are done in both cases.")
    define.boolean("overwrite", False, "Write into --output even if it is not empty.")
    define_config(define, only=INFERENCE_FIELDS, of="model")
