"""The part of a Beam pipeline that all jobs share: from a list of images to shards of answers.

A job continues where it was stopped: the images without an answer are read from the shards. A shard
is written in the same step that makes its answers, without a grouping before it. A runner would
otherwise begin to write when all images are done, and a killed job would have nothing.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_maskrcnn.cluster import storage
from keras_maskrcnn.cluster.answers import Answers, dead_letter
from keras_maskrcnn.cluster.extra import explained
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.pixels import read_with_remarks

with explained():
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

Image = dict[str, Any]
"""An image of a job: file_name, uri, and what else the job needs to know. JSON holds it."""

SHARDS = "shards"
DEAD = "dead"


class ReadImages(beam.DoFn):
    """Reads and decodes images: Image -> (Image with "remarks", pixels); `DEAD`: dead letters.

    Args:
        reading: data.bands.Reading.
        attempts: int. How often a file is tried, as in `storage.read`.
    """

    def __init__(self, reading: Reading, attempts: int) -> None:
        self._reading, self._attempts = reading, attempts

    def process(self, image: Image) -> Iterator[Any]:
        """Yields the pixels of an image, or its dead letter."""
        uri = image["uri"]
        try:
            content = storage.read(uri, self._attempts)
            pixels, remarks = read_with_remarks(uri, content, self._reading)
        except (DataError, ImportError, MemoryError, OSError) as error:
            dead = dead_letter(image["file_name"], uri, error)
            yield beam.pvalue.TaggedOutput(DEAD, dead)
        else:
            yield {**image, "remarks": remarks}, pixels


class WriteShards(beam.DoFn):
    """Writes answers and dead letters into shards; yields nothing.

    Args:
        folder: str.
        size: int. Most answers in a shard: what is lost if a worker is killed.
    """

    def __init__(self, folder: str, size: int) -> None:
        self._folder, self._size = folder, size
        self._lines: list[Mapping[str, Any]] = []

    def start_bundle(self) -> None:
        """Forgets what a bundle that failed has left."""
        self._lines = []

    def process(self, line: Mapping[str, Any]) -> None:
        """Keeps an answer until the shard is full."""
        self._lines.append(line)
        if len(self._lines) >= self._size:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        """Writes the answers that are left."""
        if self._lines:
            storage.write_shard(self._folder, self._lines)
            self._lines = []


def answer_images(
    images: Mapping[str, Image],
    output: str,
    make_answers: Callable[[Any], Mapping[str, Any]],
    *,
    shard_size: int = 64,
    retry_dead: bool = False,
    options: PipelineOptions | None = None,
) -> None:
    """Runs a pipeline over the images that have no answer in the output folder.

    Args:
        images: dict of name to Image.
        output: str. The output folder.
        make_answers: function of a PCollection of Images that returns a dict of a label to each
            PCollection of answers.
        shard_size: int. As `size` of `WriteShards`.
        retry_dead: bool. Whether to try dead letters of earlier runs again.
        options: PipelineOptions of Beam, which choose the runner.
    """
    with collected(images, output) as known:
        places = known.missing(retry_dead)
    if not places:
        return
    names, todo = list(images), storage.join(output, "todo.jsonl")
    storage.write(todo, (f"{json.dumps(images[names[place]])}\n" for place in places))
    with beam.Pipeline(options=options) as pipeline:
        listed = (
            pipeline
            | beam.io.ReadFromText(todo)
            | beam.Map(json.loads)
            | beam.Reshuffle()  # otherwise the worker that reads the list would do everything
        )
        for label, answers in make_answers(listed).items():
            folder = storage.join(output, SHARDS)
            _ = answers | f"write {label}" >> beam.ParDo(WriteShards(folder, shard_size))


def collected(images: Mapping[str, Image], output: str) -> Answers:
    """Returns the answers so far of an output folder; the caller closes them."""
    answers = Answers(list(images))
    for path, lines in storage.shards(storage.join(output, SHARDS)):
        answers.add(lines, path)
    return answers
