import json
import os

import pytest

pytest.importorskip("apache_beam", reason="needs the extra beam")

from apache_beam.io.filesystem import FileMetadata  # noqa: E402
from apache_beam.io.filesystems import FileSystems  # noqa: E402
from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402

from keras_maskrcnn.cluster import storage  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    """A folder whose name looks like a pattern."""
    folder = tmp_path / "a[1]*"
    (folder / "sub").mkdir(parents=True)
    return folder


def test_images_of_a_folder_are_those_of_predict(folder):
    for name in ("b.png", "sub/a.JPG", "c.txt", "b.npy", "._d.png"):
        (folder / name).write_text("x")
    found = storage.list_images(str(folder))
    assert list(found) == ["b.png", "sub/a.JPG"]  # b.npy is a copy
    assert found["sub/a.JPG"] == str(folder / "sub/a.JPG")


def test_a_list_keeps_its_order_and_may_hold_uris(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("gs://x/b.png\n\n /data/a.png \n")
    found = storage.list_images(str(path))
    assert found == {"gs://x/b.png": "gs://x/b.png", "/data/a.png": "/data/a.png"}
    assert list(found) == ["gs://x/b.png", "/data/a.png"]


@pytest.mark.parametrize(("text", "told"), [("", "must be a folder"), ("a\nb\na\n", "twice: 'a'")])
def test_a_list_of_nothing_or_with_copies_is_refused(tmp_path, text, told):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        storage.list_images(str(path))


def test_shards_appear_when_they_are_complete(folder):
    shards = str(folder / "shards")
    assert list(storage.shards(shards)) == []

    def lines():
        yield {"file_name": "a"}
        assert list(storage.shards(shards)) == []
        yield {"file_name": "b"}

    storage.write_shard(shards, lines())
    storage.write_shard(shards, [{"file_name": "c"}])
    found = [[json.loads(line)["file_name"] for line in text] for _, text in storage.shards(shards)]
    assert sorted(found) == [["a", "b"], ["c"]]


def test_an_unfinished_shard_is_no_shard(tmp_path):
    def broken():
        yield {"file_name": "a"}
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        storage.write_shard(str(tmp_path), broken())
    assert len(os.listdir(tmp_path)) == 1 and list(storage.shards(str(tmp_path))) == []


def test_reading_is_tried_again_unless_the_file_is_missing(tmp_path, monkeypatch):
    path, failures, pauses = tmp_path / "a", ["busy", "busy"], []
    path.write_bytes(b"abc")
    open_file = FileSystems.open

    def unreliable(*args, **kwargs):
        if failures:
            raise RuntimeError(failures.pop())
        return open_file(*args, **kwargs)

    monkeypatch.setattr(FileSystems, "open", unreliable)
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    with pytest.raises(OSError, match="a: cannot be read: busy"):
        storage.read(str(path))
    assert storage.read(str(path), attempts=2) == b"abc" and pauses == [1]
    with pytest.raises(FileNotFoundError):
        storage.read(str(tmp_path / "b"), attempts=2)
    assert pauses == [1]


def test_the_folder_of_another_job_is_refused(tmp_path):
    job = {"model": "m", "files": {"a": [1, 2.5]}}
    storage.require_same_job(str(tmp_path), job)
    storage.require_same_job(str(tmp_path), job)
    with pytest.raises(ValueError, match="another job, which differs in files, source"):
        storage.require_same_job(str(tmp_path), {**job, "files": {}, "source": "x"})


def test_the_state_of_a_model_is_that_of_its_files(folder):
    (folder / "a.pb").write_text("xy")
    (folder / "sub/b").write_text("x")
    state = storage.state_of(str(folder))
    assert {name: size for name, (size, _) in state.items()} == {"a.pb": 2, "sub/b": 1}
    alone = folder.parent / "m.onnx"
    alone.write_text("xyz")
    assert storage.state_of(str(alone))[""][0] == 3


class Bucket(LocalFileSystem):
    """Local files under a scheme; it lists as buckets do, which have no folders."""

    @classmethod
    def scheme(cls):
        return "bucket"

    def has_dirs(self):
        return False

    def join(self, base, *paths):
        return "/".join([base.rstrip("/"), *paths])

    def split(self, path):
        return path.rsplit("/", 1)

    def _list(self, prefix):
        root = local(prefix)
        for parent, _, files in os.walk(root if os.path.isdir(root) else os.path.dirname(root)):
            for name in files:
                path = os.path.join(parent, name)
                yield FileMetadata(f"bucket:/{path}", os.path.getsize(path), 0.0)

    def exists(self, path):
        return os.path.isfile(local(path))

    def metadata(self, path):
        return FileMetadata(path, os.path.getsize(local(path)), 0.0)

    def _path_open(self, path, *args, **kwargs):
        return super()._path_open(local(path), *args, **kwargs)


def local(path):
    return path.removeprefix("bucket:/")


@pytest.fixture
def remote():
    """A function that returns a path as that of a bucket. Beam finds its class by the scheme."""
    return lambda path: f"bucket:/{path}"


def test_a_remote_model_is_copied(tmp_path, remote):
    (tmp_path / "m/variables").mkdir(parents=True)
    (tmp_path / "m/saved_model.pb").write_text("graph")
    (tmp_path / "m/variables/v").write_text("values")
    with storage.local_copy(remote(tmp_path / "m")) as copy:
        found = {name: storage.read(os.path.join(copy, name)) for name in storage.list_folder(copy)}
        assert found == {"saved_model.pb": b"graph", "variables/v": b"values"}
    assert not os.path.exists(copy)
    with storage.local_copy(str(tmp_path / "m")) as same:
        assert same == str(tmp_path / "m")


def test_a_remote_folder_and_list_are_read(tmp_path, remote):
    (tmp_path / "images/sub").mkdir(parents=True)
    for name in ("b.png", "sub/a.png", "c.md"):
        (tmp_path / "images" / name).write_text("x")
    source = remote(tmp_path / "images")
    found = storage.list_images(source)
    assert list(found) == ["b.png", "sub/a.png"]
    assert storage.read(found["sub/a.png"]) == b"x"
