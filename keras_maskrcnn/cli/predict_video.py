"""The command `predict` for a video, or for a folder of frames."""

import json
import os
from typing import Any, Self

from absl import flags

from keras_maskrcnn import files
from keras_maskrcnn.cli import inputs, outputs, paths, pictures
from keras_maskrcnn.cli.config_flags import config_overrides
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.progress import Progress


def is_video(options: flags.FlagValues) -> bool:
    """Returns whether --input is a video or the folder of its frames; checks the flags for both.

    Raises:
        ValueError: if a flag for videos is given for images, or --frames for no folder.
    """
    from keras_maskrcnn import video

    if options.frames and not os.path.isdir(options.input):
        raise ValueError(f"--frames needs a folder. Received: input={options.input!r}.")
    if options.frame_rate is not None and not options.frames:
        raise ValueError(f"--frame_rate needs --frames. Received: input={options.input!r}.")
    taken = options.frames or (video.is_video(options.input) and not os.path.isdir(options.input))
    if options.track and not taken:
        raise ValueError(
            "--track is for videos, and with --frames for folders. "
            f"Received: input={options.input!r}."
        )
    return taken


def predict_video(options: flags.FlagValues) -> None:
    """Draws the detections of each frame into a new video; writes them to predictions.json."""
    from keras_maskrcnn import video
    from keras_maskrcnn.data import DataError

    local = os.path.exists(options.input)
    inside = os.path.abspath(options.input)
    pictures.refuse_filled(options, inside if options.frames else os.path.dirname(inside))
    with video.open_frames(options.input, options.frame_rate) as frames:
        model = inputs.with_overrides(inputs.load_predictor(options), config_overrides(options))
        video.check_config(model.config)
        stem = os.path.splitext(os.path.basename(inside))[0] if local else "stream"
        drawn = os.path.join(options.output, f"{stem}.mp4")
        written = os.path.join(options.output, "predictions.json")
        paths.refuse_inputs(options, drawn, written, images=[inside] if local else [])
        tracker = (
            video.Tracker(float(frames.rate), start_score=options.draw_threshold)
            if options.track
            else False
        )
        os.makedirs(options.output, exist_ok=True)
        bar = Progress(frames.count, "frame", outputs.verbosity(options))
        done = 0
        with (
            video.VideoWriter(drawn, frames.rate, frames.time_base) as writer,
            _Results(written) as results,
        ):
            for frame in video.predict_video(
                model,
                frames,
                max_mask_overlap=options.max_mask_overlap,
                track=tracker,
                on_error="skip",
            ):
                results.add(_results(os.path.basename(inside), frame, model.config.ids()))
                writer.write(_picture(frame, model.config.names(), options), frame.seconds)
                done += 1
                bar.update(done, last=False)  # the number of frames may be an estimate
            bar.update(done, last=True)
            if done or options.on_error == "skip":
                results.add([])  # a list without detections
    if not options.quiet:
        print(f"{results.count} detections in {done} frames; video in {options.output}.")
    if frames.damage:
        line = f"{options.input}: {'; '.join(frames.damage)}."
        if options.on_error == "raise":
            raise DataError(line)
        if not options.quiet:
            print(line)


def _picture(frame, names, options):
    """Draws a frame's detections; with tracks in the colors of the tracks, with their ids."""
    from keras_maskrcnn import video, visualize

    found, colors = frame.found, None
    if "track_ids" in found:
        ids = found["track_ids"]
        colors = video.track_colors(ids)
        labels = [names[label - 1] for label in found["labels"]]
        # Each detection has its own text, so it is drawn as a class of its own.
        names = [f"{label} #{i}" if i else label for label, i in zip(labels, ids, strict=True)]
        found = {**found, "labels": range(1, len(ids) + 1)}
    return visualize.draw(
        frame.pixels,
        found,
        names,
        score_threshold=options.draw_threshold,
        color_by="class" if len(names) > 1 else "instance",
        colors=colors,
        scale=1,
    )


def _results(name, frame, ids):
    """Returns a frame's detections as COCO results with the frame, its time and the track."""
    from keras_maskrcnn.detections import results_of_image

    place = {"file_name": name, "frame": frame.number, "time": round(frame.seconds, 6)}
    results = results_of_image(frame.found, place, ids)
    for result, track_id in zip(results, frame.found.get("track_ids", ()), strict=False):
        if track_id:
            result["track_id"] = int(track_id)
    return results


class _Results:
    """A JSON list that is written bit by bit, because that of a long video would fill the memory.

    The file gets its name at the end of the block, also if the command is stopped. Without a call
    of `add` there is no file.

    Args:
        path: str.

    Attributes:
        count: int. Number of results.
    """

    def __init__(self, path: str) -> None:
        self.count, self._path = 0, os.path.realpath(path)
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def add(self, results: list[dict[str, Any]]) -> None:
        """Appends results."""
        if self._file is None:
            self._unfinished = files.unfinished(self._path)
            self._file = open(self._unfinished, "w", encoding="utf-8")  # noqa: SIM115
            self._file.write("[")
        for result in results:
            self._file.write(f"{',' if self.count else ''}\n{json.dumps(result)}")
            self.count += 1

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.write("\n]\n")
            self._file.close()
            os.replace(self._unfinished, self._path)


def video_flags(define: Definer) -> None:
    """Defines the flags of `predict` for videos."""
    define.boolean(
        "frames",
        False,
        "The images of the folder --input are the frames of a video, in the order of the numbers "
        "in their names; without subfolders.",
    )
    define.float(
        "frame_rate", None, "Frames per second with --frames. Default: 25.", low=0.001, high=1000
    )
    define.boolean(
        "track",
        False,
        "Follow objects through a video: a track_id in predictions.json, and a color per track.",
    )
