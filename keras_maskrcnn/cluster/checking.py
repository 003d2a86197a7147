"""Finds the images of a COCO json that cannot be read, with Beam, before they become records."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.cluster import storage
from keras_maskrcnn.cluster.answers import answer, dead_letter, require_complete
from keras_maskrcnn.cluster.extra import explained
from keras_maskrcnn.cluster.pipeline import DEAD, Image, ReadImages, answer_images, collected
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import CocoDataset, coco_dict
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import require_size
from keras_maskrcnn.data.lvis import with_file_names
from keras_maskrcnn.data.text import read_json

with explained():
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

GOOD = "annotations.json"
"""Name of the json without the broken images."""


def check(
    images: str,
    annotations: str,
    output: str,
    *,
    reading: Reading,
    shard_size: int = 256,
    read_attempts: int = 3,
    retry_dead: bool = False,
    options: PipelineOptions | None = None,
) -> dict[str, int]:
    """Reads and decodes every image of a COCO json, and writes a json without the broken ones.

    A second call checks only the images that were not checked yet. The output folder then holds
    `annotations.json`, `dead_letters.jsonl` and `counts.json`.

    Args:
        images: str. The folder of images. Workers must find it under this path.
        annotations: str. The json file.
        output: str. A folder that the workers see too.
        reading: data.bands.Reading. How records will be read.
        shard_size, read_attempts, retry_dead, options: as in `predicting.predict`.

    Returns:
        dict of numbers, as from `Answers.counts`. `predicted` are the good images.

    Raises:
        DataError: if the json or an annotation cannot be used, or no image can be read.
        ValueError: if `output` holds the answers of another job.
        RuntimeError: if images are lost; and what Beam's runner raises.
    """
    storage.use(options)
    content = with_file_names(read_json(annotations))
    fields: dict[str, Any] = {**reading.fields(), "orientation": None}
    dataset = coco_dict(
        images, content, source=annotations, masks=None, check_images=False, **fields
    )
    reading = Reading.of(dataset)
    listed = _images(dataset)
    job = {"source": images, "annotations": storage.state_of(annotations), **reading.fields()}
    storage.require_same_job(output, job)

    def make_answers(todo):
        read = todo | beam.ParDo(ReadImages(reading, read_attempts)).with_outputs(
            DEAD, main="pixels"
        )
        return {"answers": read.pixels | beam.MapTuple(_answer), "dead letters": read[DEAD]}

    answer_images(
        listed,
        output,
        make_answers,
        shard_size=shard_size,
        retry_dead=retry_dead,
        options=options,
    )
    with collected(listed, output) as answers:
        counts = answers.counts()
        dead = list(answers.dead_letters())
    storage.write(storage.join(output, "dead_letters.jsonl"), dead)
    storage.write_json(storage.join(output, "counts.json"), counts)
    require_complete(counts)
    names = {json.loads(line)["file_name"] for line in dead}
    named = zip(dataset.image_ids, dataset.file_names, strict=True)
    broken = {image_id for image_id, name in named if name in names}
    storage.write(storage.join(output, GOOD), [json.dumps(without(content, broken))])
    return counts


def without(content: Mapping[str, Any], broken: Collection[Any]) -> dict[str, Any]:
    """Returns the content of a COCO json without some images and their annotations.

    Args:
        content: mapping of lists `images`, `annotations` and `categories`.
        broken: collection of image ids.
    """
    images = [image for image in content["images"] if image["id"] not in broken]
    kept = {image["id"] for image in images}
    annotations = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    return {**content, "images": images, "annotations": annotations}


def _images(dataset: CocoDataset) -> dict[str, Image]:
    """Returns the images of a data set by name, with their sizes."""
    return {
        name: {"file_name": name, "uri": storage.join(dataset.images, name), "size": list(size)}
        for name, size in zip(dataset.file_names, dataset.sizes, strict=True)
    }


def _answer(image: Image, pixels: np.ndarray) -> dict[str, Any]:
    """Returns the answer of an image that was read: no results; a dead letter for other sides."""
    try:
        require_size(image["uri"], pixels.shape[:2], tuple(image["size"]))
    except DataError as error:
        return dead_letter(image["file_name"], image["uri"], error)
    return answer(image["file_name"], (), image["remarks"])
