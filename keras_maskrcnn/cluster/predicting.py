"""Predicts a folder or a list of images with Beam, and joins the answers to COCO results."""

from collections.abc import Mapping
from typing import Any

from absl import logging

from keras_maskrcnn.cluster import storage
from keras_maskrcnn.cluster.answers import answer, dead_letter, require_complete
from keras_maskrcnn.cluster.extra import explained
from keras_maskrcnn.cluster.handler import ExportedModelHandler
from keras_maskrcnn.cluster.pipeline import DEAD, Image, ReadImages, answer_images, collected
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.images import log_remarks
from keras_maskrcnn.detections import check_prediction
from keras_maskrcnn.typing import Orientation

with explained():
    import apache_beam as beam
    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions


def predict(
    model: str,
    source: str,
    output: str,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    batch_size: int = 1,
    orientation: Orientation = "ignore",
    shard_size: int = 64,
    read_attempts: int = 3,
    retry_dead: bool = False,
    options: PipelineOptions | None = None,
) -> dict[str, int]:
    """Predicts images with an exported model on any runner of Beam.

    A second call with the same arguments predicts only the images that have no answer yet. The
    output folder then holds `predictions.json`, the same file as `keras-maskrcnn predict` writes;
    `dead_letters.jsonl`, the images that could not be read, with the reasons; and `counts.json`.

    Args:
        model: str. A SavedModel folder, .onnx or .xml file. Workers must find it under this path.
        source: str. A folder of images, or a .txt file with a path or URI per line.
        output: str. A folder that the workers see too.
        runtime, threads, batch_size: as in `handler.ExportedModelHandler`.
        orientation: as in `predict_image`.
        shard_size: int. Images per file of answers: what is lost if a worker is killed.
        read_attempts: int. How often a file is tried, as in `storage.read`.
        retry_dead: bool. Whether to try the images again that could not be read before.
        options: PipelineOptions of Beam, which choose the runner.

    Returns:
        dict of numbers, as from `Answers.counts`.

    Raises:
        ValueError: if an argument is not as above, or `output` holds the answers of another job.
        DataError: if no image could be read.
        RuntimeError: if images are lost; and what Beam's runner raises.
    """
    for name, number in (
        ("batch_size", batch_size),
        ("shard_size", shard_size),
        ("read_attempts", read_attempts),
    ):
        if number < 1:
            raise ValueError(f"{name} must be at least 1. Received: {name}={number}.")
    storage.use(options)
    model, source, output = map(storage.absolute, (model, source, output))
    images = {
        name: {"file_name": name, "uri": uri} for name, uri in storage.list_images(source).items()
    }
    handler = ExportedModelHandler(model, runtime=runtime, threads=threads, batch_size=batch_size)
    loaded = handler.load_model()  # an error is told here, not by all workers
    check_prediction(loaded, 0, 1)
    reading = Reading(**loaded.config.reading(), orientation=orientation)
    job = {
        "model": model,
        "files": storage.state_of(model),
        "runtime": loaded.runtime,
        "orientation": orientation,
        "source": source,
    }
    del loaded
    storage.require_same_job(output, job)

    def make_answers(listed):
        read = listed | beam.ParDo(ReadImages(reading, read_attempts)).with_outputs(
            DEAD, main="pixels"
        )
        found = read.pixels | RunInference(KeyedModelHandler(handler)) | beam.MapTuple(_answer)
        return {"answers": found, "dead letters": read[DEAD]}

    answer_images(
        images,
        output,
        make_answers,
        shard_size=shard_size,
        retry_dead=retry_dead,
        options=options,
    )
    return join(images, output)


def join(images: Mapping[str, Image], output: str) -> dict[str, int]:
    """Joins the shards of an output folder to one file of COCO results, and counts.

    Args:
        images: dict of name to Image, in the order of the results.
        output: str.

    Returns:
        dict of numbers, as from `Answers.counts`.

    Raises:
        DataError, RuntimeError: as in `predict`.
    """
    with collected(images, output) as answers:
        counts = answers.counts()
        storage.write(storage.join(output, "predictions.json"), answers.predictions())
        storage.write(storage.join(output, "dead_letters.jsonl"), answers.dead_letters())
        storage.write_json(storage.join(output, "counts.json"), counts)
        log_remarks(answers.remarks)
        if answers.strangers:
            logging.warning("%d answers are of images that are not listed.", answers.strangers)
    require_complete(counts)
    return counts


def _answer(image: Image, found: Any) -> dict[str, Any]:
    """Returns the answer of an image, or its dead letter if the model failed with it."""
    name = image["file_name"]
    if isinstance(found, Exception):
        return dead_letter(name, image["uri"], found)
    results = [{"file_name": name, **one} for one in found]
    return answer(name, results, image["remarks"])
