"""Files in any place that Beam knows: local folders, gs://, s3://, hdfs:// and others."""

import contextlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from keras_maskrcnn.cluster.extra import explained
from keras_maskrcnn.data.formats import content
from keras_maskrcnn.data.images import SUFFIXES, without_copies
from keras_maskrcnn.files import UNFINISHED

with explained():
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

_AS_IS = CompressionTypes.UNCOMPRESSED


def use(options: PipelineOptions | None) -> None:
    """Lets this process use buckets with the options of a pipeline, such as credentials."""
    FileSystems.set_options(options or PipelineOptions([]))


def is_remote(path: str) -> bool:
    """Whether a path has a scheme, such as gs://."""
    return FileSystems.get_scheme(path) is not None


def absolute(path: str) -> str:
    """Returns a path that workers with another current folder understand."""
    return path if is_remote(path) else os.path.abspath(path)


def list_images(source: str) -> dict[str, str]:
    """Lists the images of a folder or of a list, in the order of their results.

    Args:
        source: str. A folder, whose subfolders count too. Or a file that ends in .txt, with a path
            or URI per line.

    Returns:
        dict of name to path. A name is relative to the folder, or the line of the list.

    Raises:
        ValueError: if there is no image, or a line is there twice.
    """
    if source.endswith(".txt"):
        text = read(source).decode("utf-8")
        paths = [line.strip() for line in text.splitlines() if line.strip()]
        found = {path: absolute(path) for path in paths}
        if len(found) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            line = f"{source}: each image must be listed once."
            raise ValueError(f"{line} Received twice: {twice!r}.")
    else:
        names = list_folder(source) if is_remote(source) else content.list_files(source, SUFFIXES)
        names = [name.replace(os.sep, "/") for name in names if name.lower().endswith(SUFFIXES)]
        found = {name: join(source, name) for name in without_copies(sorted(names))}
    if not found:
        raise ValueError(
            f"input must be a folder of images ({', '.join(SUFFIXES)}), or a .txt file with a path "
            f"or URI per line. Received: input={source!r}."
        )
    return found


def list_folder(folder: str) -> list[str]:
    """Lists the files in a folder and its subfolders, as sorted paths relative to the folder.

    A folder that is missing has no files.
    """
    return sorted(_files(folder))


def state_of(path: str) -> dict[str, list[float]]:
    """Returns the size and the time of the last change of a file, or of each file of a folder."""
    if files := _files(path):
        return files
    found = FileSystems.match([path])[0].metadata_list
    return {"": [found[0].size_in_bytes, found[0].last_updated_in_seconds]} if found else {}


def _files(folder):
    """Returns a dict of each path in a folder to [bytes, time of the last change]."""
    if not is_remote(folder):  # Beam would take brackets in the name for a pattern
        paths = [os.path.join(parent, f) for parent, _, files in os.walk(folder) for f in files]
        stats = {os.path.relpath(path, folder): os.stat(path) for path in paths}
        return {name: [stat.st_size, stat.st_mtime] for name, stat in stats.items()}
    prefix = folder.rstrip("/") + "/"
    (matched,) = FileSystems.match([f"{prefix}**"])
    return {
        found.path.removeprefix(prefix): [found.size_in_bytes, found.last_updated_in_seconds]
        for found in matched.metadata_list
    }


def join(folder: str, *names: str) -> str:
    """Joins a folder and names; slashes in a name are subfolders."""
    return FileSystems.join(folder, *names)


def read(path: str, attempts: int = 1) -> bytes:
    """Reads a file as it is.

    Args:
        path: str.
        attempts: int. How often to try, with pauses of 1, 2, 4, ... seconds. A file that does not
            exist is not tried again.

    Raises:
        OSError: if it cannot be read.
    """
    for attempt in range(attempts):
        try:
            with FileSystems.open(path, compression_type=_AS_IS) as file:
                return file.read()
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system raises its own
            if attempt == attempts - 1:
                raise OSError(f"{path}: cannot be read: {error}") from error
            time.sleep(2**attempt)
    raise ValueError(f"attempts must be at least 1. Received: attempts={attempts}.")


def write(path: str, pieces: Iterable[str]) -> None:
    """Writes a text file that appears when it is complete.

    Args:
        path: str. It is replaced if it exists.
        pieces: texts.

    Raises:
        OSError: if it cannot be written.
    """
    folder, name = FileSystems.split(path)
    unfinished = join(folder, f"{UNFINISHED}{uuid.uuid4().hex}.{name[-50:]}")
    with FileSystems.create(unfinished, compression_type=_AS_IS) as file:
        for piece in pieces:
            file.write(piece.encode("utf-8"))
    FileSystems.rename([unfinished], [path])


def write_json(path: str, content: Any) -> None:
    """Writes a JSON file, as `write`."""
    write(path, [json.dumps(content, indent=1, sort_keys=True) + "\n"])


def write_shard(folder: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Writes lines of JSON as a new file of a folder.

    A worker that repeats its work writes another file, so that two workers never write the same.
    """
    path = join(folder, f"{uuid.uuid4().hex}.jsonl")
    write(path, (f"{json.dumps(line)}\n" for line in lines))


def shards(folder: str) -> Iterator[tuple[str, list[bytes]]]:
    """Yields (path, lines) of the complete shards in a folder, which may be missing."""
    for name in list_folder(folder):
        if name.endswith(".jsonl") and not name.startswith(UNFINISHED):
            yield join(folder, name), read(join(folder, name), attempts=3).splitlines()


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Yields a local path of a file or a folder, which is a copy if it is remote.

    Beside an OpenVINO .xml file, its .bin file is copied too.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(path.rstrip("/")))
        if names := list_folder(path):
            pairs = {join(path, name): os.path.join(copy, name) for name in names}
        else:
            pairs = {path: copy}
            if path.endswith(".xml"):
                pairs[path[:-4] + ".bin"] = copy[:-4] + ".bin"
        for source, target in pairs.items():
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with (
                FileSystems.open(source, compression_type=_AS_IS) as file,
                open(target, "wb") as new,
            ):
                shutil.copyfileobj(file, new)
        yield copy


def require_same_job(folder: str, job: Mapping[str, Any]) -> None:
    """Writes what a job is into its output folder, or compares it with what is there.

    Args:
        folder: str. The output folder.
        job: mapping of values that JSON holds.

    Raises:
        ValueError: if the folder holds the answers of another job.
    """
    path, now = join(folder, "job.json"), json.loads(json.dumps(job))
    if not FileSystems.exists(path):
        write_json(path, now)
        return
    before = json.loads(read(path))
    differs = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if differs:
        raise ValueError(
            f"{folder} holds answers of another job, which differs in {', '.join(differs)}; give "
            f"another output, or delete that one. Received: output={folder!r}."
        )
