"""The answers of a job: one line of JSON per image, from any shard, in any order, maybe twice.

A line holds the COCO results of an image, or the reason why there are none. Such an image is a
dead letter. Workers may be killed and repeat what they did, so an image may have several lines.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from keras_maskrcnn.data.errors import DataError

_SCHEMA = "CREATE TABLE lines (place INTEGER PRIMARY KEY, good INTEGER, count INTEGER, text TEXT)"
# The first line of an image is kept. Results replace a dead letter of an earlier attempt.
_ADD = (
    "INSERT INTO lines VALUES (?, ?, ?, ?) ON CONFLICT (place) DO UPDATE SET"
    " good = excluded.good, count = excluded.count, text = excluded.text"
    " WHERE excluded.good > lines.good"
)


def answer(
    name: str, results: Sequence[Mapping[str, Any]], remarks: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns what is known about an image that was read.

    Args:
        name: str. The image.
        results: sequence of dicts. Its COCO results.
        remarks: sequence of str. Keys of `data.images.REMARKS` that are true of it.
    """
    return {"file_name": name, "results": list(results), "remarks": list(remarks)}


def dead_letter(name: str, uri: str, error: object) -> dict[str, Any]:
    """Returns what is known about an image without an answer.

    Args:
        name: str. The image.
        uri: str. Where it is.
        error: exception or str. The reason.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    return {"file_name": name, "uri": uri, "error": reason[:1000]}


class Answers:
    """The answers of a list of images, kept on the disk and not in memory; a context manager.

    Args:
        names: sequence of str. All images of the job, each once.

    Attributes:
        strangers: int. Lines so far of images that are not in the list.
        remarks: dict of a remark to the names of the images that it is true of.

    Raises:
        ValueError: if a name is there twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        if len(self._places) < len(names):
            twice = next(name for i, name in enumerate(names) if self._places[name] != i)
            raise ValueError(f"each image must be listed once. Received twice: {twice!r}.")
        self._names = list(names)
        self._table = sqlite3.connect("")  # SQLite's own temporary file, which nobody else sees
        self._table.execute(_SCHEMA)
        self.strangers = 0
        self.remarks: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._table.close()

    def add(self, lines: Iterable[str | bytes], where: str) -> None:
        """Adds the lines of a shard.

        Args:
            lines: texts of JSON, as of `answer` and `dead_letter`.
            where: str. The shard, for error messages.

        Raises:
            ValueError: if a line is not as above. All other lines of the shard are then left out.
        """
        with self._table:
            for number, line in enumerate(lines, 1):
                try:
                    found = json.loads(line)
                    name, results = found["file_name"], found.get("results")
                    good = results is not None
                    text = ",\n".join(map(json.dumps, results)) if good else _text(found)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise ValueError(
                        f"{where}: line {number} must be the answer of an image, as JSON. "
                        f"Received: {error!r}."
                    ) from error
                if name not in self._places:
                    self.strangers += 1
                    continue
                row = self._places[name], good, len(results or ()), text
                added = self._table.execute(_ADD, row).rowcount
                for remark in found.get("remarks", ()) if added else ():
                    self.remarks.setdefault(remark, []).append(name)

    def missing(self, retry_dead: bool = False) -> list[int]:
        """Returns the places in the list of the images without an answer.

        Args:
            retry_dead: bool. Whether dead letters count as missing.
        """
        done = self._table.execute(f"SELECT place FROM lines WHERE good >= {int(retry_dead)}")
        return sorted(set(range(len(self._names))) - {place for (place,) in done})

    def counts(self) -> dict[str, int]:
        """Returns a dict of numbers: images, predicted, dead_letters, missing, detections.

        `images` is the length of the list. The others are counted from the lines.
        """
        row = self._table.execute(
            "SELECT coalesce(sum(good), 0), coalesce(sum(1 - good), 0), coalesce(sum(count), 0)"
            " FROM lines"
        ).fetchone()
        predicted, dead, detections = row
        return {
            "images": len(self._names),
            "predicted": predicted,
            "dead_letters": dead,
            "missing": len(self.missing()),
            "detections": detections,
        }

    def predictions(self) -> Iterator[str]:
        """Yields the text of all COCO results, piece by piece, in the order of the list.

        It is the predictions.json of `keras-maskrcnn predict`, byte for byte.
        """
        separator = "["
        query = "SELECT text FROM lines WHERE good AND count ORDER BY place"
        for (text,) in self._table.execute(query):
            yield separator + text
            separator = ",\n"
        yield "]\n" if separator != "[" else "[]\n"

    def dead_letters(self) -> Iterator[str]:
        """Yields a line of JSON per image without an answer: file_name, uri and error."""
        query = "SELECT text FROM lines WHERE NOT good ORDER BY place"
        yield from (f"{text}\n" for (text,) in self._table.execute(query))


def _text(found):
    """Returns the line of a dead letter; raises KeyError if it lacks the reason."""
    return json.dumps({name: found[name] for name in ("file_name", "uri", "error")})


def require_complete(counts: Mapping[str, int]) -> None:
    """Raises an error if images are lost, or if there is nothing but dead letters.

    Args:
        counts: mapping, as from `Answers.counts`.

    Raises:
        RuntimeError: if images are neither predicted nor dead letters. Another run may mend it.
        DataError: if no image is predicted.
    """
    names = "images", "predicted", "dead_letters"
    told = ", ".join(f"{name}={counts[name]}" for name in names)
    if counts["images"] != counts["predicted"] + counts["dead_letters"]:
        raise RuntimeError(f"predicted and dead_letters must add up to images. Received: {told}.")
    if not counts["predicted"]:
        line = "no image could be read; dead_letters.jsonl says why."
        raise DataError(f"{line} Received: {told}.")
