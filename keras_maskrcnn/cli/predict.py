"""The command `predict`."""

import collections
import os
from typing import Any, Literal

from absl import flags

from keras_maskrcnn.cli import (
    answers,
    inputs,
    outputs,
    paths,
    pictures,
    predict_tiles,
    predict_video,
)
from keras_maskrcnn.cli.config_flags import INFERENCE_FIELDS, config_overrides, define_config
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.writers.record import ImageRecord


def predict(options: flags.FlagValues) -> None:
    """Draws the detections of each image, and writes them in formats that other tools read."""
    if predict_video.is_video(options):
        _refuse_for_videos(options)
        predict_video.predict_video(options)
        return
    if predict_tiles.is_tiled(options):
        predict_tiles.predict_tiles(options)
        return
    from keras_maskrcnn import visualize
    from keras_maskrcnn.data.bands import Reading
    from keras_maskrcnn.data.images import log_remarks
    from keras_maskrcnn.data.pixels import read_with_remarks
    from keras_maskrcnn.detections import predict_image

    pictures.check_look(options)
    folder = options.input if os.path.isdir(options.input) else os.path.dirname(options.input)
    pictures.refuse_filled(options, folder)
    names = inputs.list_images(options.input, options.output)
    images = [os.path.join(folder, name) for name in names]
    model = inputs.with_overrides(inputs.load_predictor(options), config_overrides(options))
    reading = Reading(**model.config.reading(), orientation=options.orientation)
    look = pictures.look(options, model.config)
    classes = model.config.names()
    # With a single class, a color per instance shows neighbors apart.
    color_by: Literal["class", "instance"] = "class" if len(classes) > 1 else "instance"
    drawn = [os.path.join(options.output, name) for name in pictures.picture_names(names)]
    paths.refuse_inputs(options, *drawn, images=images)
    count, done, remarked = 0, 0, collections.defaultdict(list)
    unreadable: list[str] = []
    alone = len(images) == 1
    try:
        with answers.answers(options, model.config, names) as add:
            for i, name in enumerate(outputs.progress(names, options)):
                with pictures.left_out_if_unreadable(name, unreadable, options, alone):
                    image, remarks = read_with_remarks(images[i], None, reading)
                    for remark in remarks:
                        remarked[remark].append(name)
                    found = predict_image(model, image, max_mask_overlap=options.max_mask_overlap)
                    height, width = image.shape[:2]
                    add(ImageRecord(name, height, width, images[i]), found)
                    picture = visualize.draw(
                        image,
                        found,
                        classes,
                        score_threshold=options.draw_threshold,
                        color_by=color_by,
                        **look,
                    )
                    visualize.save_png(drawn[i], picture)
                    count, done = count + len(found["scores"]), done + 1
    finally:  # also if the command was stopped
        log_remarks(remarked)
    if not options.quiet:
        print(f"{count} detections in {done} images; pictures in {options.output}.")
    outputs.report_unreadable(unreadable, len(images), options)


def _refuse_for_videos(options):
    """Raises ValueError for a flag that is for images only."""
    images: dict[str, Any] = {"tile": None, "tiles": False, "format": ["rle"], "tolerance": 0}
    images |= {"bands": None, "stretch": None, "orientation": "ignore"}
    for name, default in {**images, **predict_tiles.NEED_TILE}.items():
        if (value := getattr(options, name)) != default:
            raise ValueError(f"--{name} is for images, not videos. Received: {name}={value!r}.")


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
    define.string("output", None, "Folder for the pictures and the detections.", required=True)
    answers.answer_flags(define)
    define.float(
        "draw_threshold", 0.5, "Lowest score of the detections that are drawn.", low=0, high=1
    )
    pictures.look_flags(define)
    predict_video.video_flags(define)
    define.float(
        "max_mask_overlap",
        1,
        "An object is dropped if more than this share of the smaller one of two masks, its own and "
        "that of an object with a higher score, lies in both. 1 keeps all.",
        low=0,
        high=1,
    )
    predict_tiles.tile_flags(define)
    define.orientation("ignore", "Results are in pixels of the image as it is read.")
    define.on_error("The other images are done in both cases.")
    define.boolean("overwrite", False, "Write into --output even if it is not empty.")
    define_config(define, only=INFERENCE_FIELDS, of="model")
