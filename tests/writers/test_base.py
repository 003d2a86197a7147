import json
import os
import pathlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import written_objects
from written_objects import CLASSES, IDS, record

from keras_maskrcnn.ops import rle
from keras_maskrcnn.writers import FORMATS, WRITERS, open_writer

ONE_FILE = [name for name in FORMATS if "." in WRITERS[name].place]
FOLDERS = [name for name in FORMATS if name not in ONE_FILE]


def files_in(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file()
    )


@pytest.fixture(scope="module")
def found():
    return written_objects.found()


def few(found, count):
    return {
        name: value[:count] if name != "class_names" else value for name, value in found.items()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_files_appear_when_they_are_complete(name, found, tmp_path):
    with open_writer(name, tmp_path / "a" / "b", class_names=CLASSES) as writer:
        assert files_in(tmp_path) == [] or "unfinished-" in files_in(tmp_path)[0]
        writer.add(record("a.png"), found)
        writer.add(record("sub/a.png"), few(found, 0))
    written = files_in(tmp_path)
    assert written and not [path for path in written if "unfinished-" in path]
    assert writer.path.startswith(str(tmp_path / "a" / "b")) and os.path.exists(writer.path)
    assert (writer.images, writer.objects, writer.left_out) == (2, len(found["boxes"]), 0)


@pytest.mark.parametrize("name", FORMATS)
def test_files_are_replaced_only_with_overwrite(name, found, tmp_path):
    with open_writer(name, tmp_path) as writer:
        writer.add(record("a.png"), found)
    before = {path: (tmp_path / path).read_bytes() for path in files_in(tmp_path)}
    with pytest.raises(FileExistsError, match=f"{writer.place} exists; pass overwrite=True"):
        open_writer(name, tmp_path)
    assert {path: (tmp_path / path).read_bytes() for path in files_in(tmp_path)} == before
    with open_writer(name, tmp_path, overwrite=True) as writer:
        writer.add(record("a.png"), few(found, 1))
    assert files_in(tmp_path) == sorted(before)
    assert {path: (tmp_path / path).read_bytes() for path in before} != before


class Interrupted(dict):
    """Detections whose last mask cannot be read: someone stops the command."""

    def __init__(self, found):
        super().__init__(found)
        self["masks"] = self
        self.size, self._masks = found["masks"].size, found["masks"]

    def __len__(self):
        return len(self._masks)

    def crop(self, index):
        if index == len(self) - 1:
            raise KeyboardInterrupt
        return self._masks.crop(index)

    def rle(self, index):
        return self._masks.rle(index)


@pytest.mark.parametrize("name", FORMATS)
def test_after_an_interruption_the_images_before_it_are_kept(name, found, tmp_path):
    folders = [tmp_path / "whole", tmp_path / "interrupted", tmp_path / "nothing"]
    with open_writer(name, folders[0], class_names=CLASSES) as writer:
        writer.add(record("a.png"), found)
    with (
        pytest.raises(KeyboardInterrupt),
        open_writer(name, folders[1], class_names=CLASSES) as writer,
    ):
        writer.add(record("a.png"), found)
        writer.add(record("b.png"), Interrupted(found))
    assert files_in(folders[0]) == files_in(folders[1])
    for path in files_in(folders[0]):
        assert (folders[0] / path).read_bytes() == (folders[1] / path).read_bytes()
    with pytest.raises(KeyboardInterrupt), open_writer(name, folders[2]) as writer:
        writer.add(record("b.png"), Interrupted(found))
    assert files_in(folders[2]) == []


@pytest.mark.parametrize("name", FOLDERS)
def test_outputs_stay_in_their_folder(name, found, tmp_path):
    with open_writer(name, tmp_path / "out", class_names=CLASSES) as writer:
        for file_name in ("../../a.png", "/etc/b.png", "sub/c.png"):
            writer.add(record(file_name), few(found, 1))
        with pytest.raises(ValueError, match="the same name.*Received: file_name='sub/c.png'"):
            writer.add(record("sub/c.png"), few(found, 1))
            writer.add(record("sub/c.png"), few(found, 1))
    place = tmp_path / "out" / writer.place / writer.subfolder
    stems = {os.path.splitext(path)[0] for path in files_in(place)}
    assert {"a", "b", "sub/c"} <= stems
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", FORMATS)
def test_bad_arguments_are_named(name, found, tmp_path):
    with pytest.raises(ValueError, match="Received: tolerance=-1"):
        open_writer(name, tmp_path, tolerance=-1)
    with pytest.raises(ValueError, match="the same length. Received: 2 names, 1 ids"):
        open_writer(name, tmp_path, class_names=CLASSES, category_ids=[1])
    with open_writer(name, tmp_path, class_names=CLASSES[:1]) as writer:
        with pytest.raises(ValueError, match=r"labels must be in 1..1. Received: label=2."):
            writer.add(record(), found)
        with pytest.raises(ValueError, match="a.png: masks must have the image's size"):
            writer.add(record(size=(5, 5)), found)
        assert writer.images == writer.objects == 0


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ValueError, match="format must be one of coco_json, .*Received: format='x'"):
        open_writer("x", tmp_path)


@pytest.mark.parametrize("name", [name for name in FORMATS if WRITERS[name].modules])
def test_a_missing_library_is_named_before_any_work(name, tmp_path, monkeypatch):
    for module in WRITERS[name].modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[formats\]. Received: "):
        open_writer(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_and_ids_may_come_from_the_detections_or_be_missing(found, tmp_path):
    def categories(folder, found, **options):
        with open_writer("coco_json", tmp_path / folder, **options) as writer:
            writer.add(record(), found)
        content = json.loads((tmp_path / folder / "coco.json").read_text())
        return [(c["id"], c["name"]) for c in content["categories"]]

    assert categories("1", found) == list(enumerate(CLASSES, 1))
    assert categories("2", found, category_ids=IDS) == list(zip(IDS, CLASSES, strict=True))
    assert categories("3", found, class_names=["x", "y"]) == [(1, "x"), (2, "y")]
    nameless = {name: value for name, value in found.items() if name != "class_names"}
    assert categories("4", nameless, category_ids=IDS) == [(3, "3"), (7, "7")]
    assert categories("5", nameless) == [(1, "1"), (2, "2")]
    assert categories("6", few(nameless, 0), class_names=["x", "y"]) == [(1, "x"), (2, "y")]


def test_masks_may_be_an_array(found, tmp_path):
    texts = []
    for folder, masks in (("a", found["masks"]), ("b", np.asarray(found["masks"]))):
        with open_writer("rle", tmp_path / folder) as writer:
            writer.add(record(), {**found, "masks": masks})
        texts.append((tmp_path / folder / "predictions.json").read_text())
    assert texts[0] == texts[1]


def test_a_mask_without_a_pixel_is_left_out_of_outlines(found, tmp_path):
    masks = np.asarray(found["masks"]).copy()
    masks[1] = False
    with open_writer("coco_json", tmp_path) as writer:
        writer.add(record(), {**found, "masks": masks})
    assert (writer.objects, writer.left_out) == (len(masks) - 1, 1)
    annotations = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert [a["id"] for a in annotations] == list(range(1, len(masks)))


def test_writers_need_no_tensorflow():
    """Exported models are used where it is not installed."""
    code = """
import sys
from keras_maskrcnn.writers import FORMATS
heavy = {"tensorflow", "keras", "shapely", "skimage", "tifffile", "pycocotools"} & {*sys.modules}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kill_leaves_no_half_file(tmp_path):
    code = f"""
import os, signal, sys
sys.path.append({str(pathlib.Path(__file__).parent)!r})
import written_objects
from keras_maskrcnn.writers import open_writer

class Killing(dict):
    size = written_objects.SIZE
    def crop(self, index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return masks.crop(index)

found = written_objects.found()
masks = found["masks"]
writers = [open_writer(name, {str(tmp_path)!r}) for name in ("cvat", "yolo_seg")]
for writer in writers:
    writer.add(written_objects.record("a.png"), found)
writers[0].add(written_objects.record("b.png"), found)
writers[1].add(written_objects.record("b.png"), {{**found, "masks": Killing()}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -9, done.stderr
    whole = [path for path in files_in(tmp_path) if "unfinished-" not in path]
    assert whole == ["yolo_seg/labels/a.txt"]
    assert len((tmp_path / whole[0]).read_text().splitlines()) == len(written_objects.REGIONS)


class Drawn:
    """Masks of any number of objects, which are drawn when they are asked for."""

    def __init__(self, count):
        self.size, self._count = (600, 600), count

    def __len__(self):
        return self._count

    def crop(self, index):
        return written_objects.ring(20 + index % 5), (index % 570, index * 7 % 570)

    def rle(self, index):
        region, origin = self.crop(index)
        return rle.encode_region(region, origin, *self.size)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_memory_does_not_grow_with_objects(name, tmp_path):
    peaks = []
    for count in (1050, 50, 1050):  # the first run imports libraries and fills their caches
        detections = {
            "boxes": np.tile(np.array([[5, 5, 25, 25]], np.float32), (count, 1)),
            "scores": np.random.default_rng(0).random(count, np.float32),
            "labels": np.ones(count, np.int32),
            "masks": Drawn(count),
        }
        with open_writer(name, tmp_path / str(len(peaks))) as writer:
            tracemalloc.start()
            writer.add(record(size=(600, 600)), detections)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / 1000 < 64  # bytes per object; its box has 16
