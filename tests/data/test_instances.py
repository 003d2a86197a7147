"""data/instances.py: arrays and tables become the data set that files would be."""

import pickle
import types

import numpy as np
import pytest
from in_memory import IDS, lists_of
from pycocotools import mask as mask_api
from resizing import resizing

from keras_maskrcnn.data import batches, from_instances, from_table
from keras_maskrcnn.data.errors import DataError

IMAGE = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
MASKS = np.zeros((2, 20, 30), bool)
MASKS[0, 5:11, 4:14], MASKS[1, :3, :3] = True, True
BOXES = [[4, 5, 14, 11], [0, 0, 3, 3]]


def check_same(found, expected):
    assert found.sizes == expected.sizes and found.class_names == expected.class_names
    for i in range(len(expected)):
        example, reference = found.load(i), expected.load(i)
        assert set(example) == set(reference)
        for name, value in reference.items():
            np.testing.assert_array_equal(example[name], value, name)
            assert example[name].dtype == value.dtype


def decoded(segmentations, size):
    merged = [mask_api.merge(mask_api.frPyObjects(s, *size)) for s in segmentations]
    return [mask_api.decode(one) for one in merged]


@pytest.mark.parametrize("kind", ["polygons", "masks", "label images", "run lengths"])
def test_lists_are_what_the_files_are(dataset, kind):
    images, given = lists_of(dataset)
    labels, outlines = given["labels"], {"polygons": given["polygons"]}
    masks = [decoded(*pair) for pair in zip(given["polygons"], dataset.sizes, strict=True)]
    if kind == "masks":  # a list, and an array
        outlines = {"masks": [np.array(m) if i % 2 else m for i, m in enumerate(masks)]}
    elif kind == "run lengths":
        encode = [[mask_api.encode(np.asfortranarray(one)) for one in m] for m in masks]
        outlines = {"masks": encode}
    elif kind == "label images":  # of the first object of each image, as objects overlap
        pairs = zip(masks, dataset.sizes, strict=True)
        outlines = {"masks": [5 * m[0] if m else np.zeros(size, int) for m, size in pairs]}
        labels = {5: 7}
    boxes = {} if kind in ("polygons", "label images") else {"boxes": given["boxes"]}
    found = from_instances(
        images, labels=labels, class_names=IDS, mask_size=14, **outlines, **boxes
    )
    if kind == "label images":
        assert found.num_instances.tolist() == [0, 1, 1, 1, 1]
        assert list(found.counts) == [dataset.counts[first] for first in dataset.offsets[1:5]]
    else:
        check_same(found, dataset)
    check_same(pickle.loads(pickle.dumps(found)), found)


def test_batches_are_those_of_the_files(dataset):
    images, given = lists_of(dataset)
    found = from_instances(images, class_names=IDS, mask_size=14, **given)
    options = {"training": True, "seed": 3, "cache": True, **resizing(32, 64)}
    for ours, theirs in zip(*(batches(d, 2, **options) for d in (found, dataset)), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            for name in b:
                np.testing.assert_array_equal(a[name], b[name], name)


class Lazy:
    """Images that are made when they are asked for."""

    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.read.append(index)
        return IMAGE


class Generator:
    """A generator with a length."""

    def __len__(self):
        return 3

    def __iter__(self):
        yield from [IMAGE] * 3


def test_images_are_read_by_index_or_once():
    boxes, lazy = [BOXES] * 3, Lazy(3)
    found = from_instances(lazy, boxes=boxes, class_names=["a"])
    assert lazy.read == [0, 1, 2]  # for their sizes
    np.testing.assert_array_equal(found.load_image(1), IMAGE)
    assert lazy.read == [0, 1, 2, 1]
    of_generator = from_instances(Generator(), boxes=boxes, class_names=["a"])
    assert [len(of_generator), of_generator.load_image(2).shape] == [3, (20, 30, 3)]
    stack = np.stack([IMAGE] * 3)
    assert np.shares_memory(
        from_instances(stack, boxes=boxes, class_names=["a"]).load_image(1), stack
    )
    with pytest.raises(TypeError, match="images must have a length: .* Received: generator"):
        from_instances((x for x in [IMAGE]), boxes=boxes, class_names=["a"])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "instances must have masks, polygons or boxes"),
        ({"boxes": [BOXES, BOXES]}, "boxes must have one entry per image, 1. Received: 2"),
        ({"boxes": [BOXES], "labels": [[1], [1]]}, "labels must have one entry per image, 1."),
        ({"boxes": [BOXES], "names": ["a", "b"]}, "names must be 1, one per image. Received: 2"),
    ],
)
def test_lists_of_other_lengths_are_refused(given, line):
    with pytest.raises(ValueError, match=line):
        from_instances([IMAGE], class_names=["a"], **given)


def table(**columns):
    """Stands in for a DataFrame."""

    class Table(dict):
        columns = property(list)

    return Table(columns)


NAN = float("nan")
ROWS = {
    "image": ["a.png", "b.jpg", "a.png"],
    "x1": np.array([4, NAN, 0]),
    "y1": [5, None, 0],
    "x2": [14, "", 3],
    "y2": [11, NAN, 3],
    "class": ["dog", None, "cat"],
}


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_table_of_boxes_is_read(tmp_path, in_memory):
    from PIL import Image

    images = {"a.png": IMAGE, "b.jpg": IMAGE[:10]}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / name)
    found = from_table(images if in_memory else tmp_path, table(**ROWS))
    assert (found.file_names, found.class_names) == (("a.png", "b.jpg"), ("cat", "dog"))
    assert (found.labels.tolist(), found.num_instances.tolist()) == ([2, 1], [2, 0])
    np.testing.assert_array_equal(found.boxes, BOXES)
    assert not found.has_masks and found.load_image(1).shape == (10, 30, 3)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_table_may_have_outlines(tmp_path, in_memory):
    from PIL import Image

    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    encoded = mask_api.encode(np.asfortranarray(MASKS[1], np.uint8))
    encoded["counts"] = encoded["counts"].decode()
    outlines = [[[4, 5, 14, 5, 14, 11, 4, 11]], encoded]
    rows = {"image": ["a.png"] * 2, "class": [3, np.int64(9)], "segmentation": outlines}
    found = from_table({"a.png": IMAGE} if in_memory else tmp_path, table(**rows))
    assert found.has_masks and found.category_ids == (3, 9)
    np.testing.assert_array_equal(found.boxes, BOXES)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"x2": [14, None, -3]}, "row 2: x1, y1, x2, y2 must be pixels"),
        ({"class": [None, None, "cat"]}, "row 0: class "),
        ({"image": ["a.png", "b.jpg", "c.png"]}, "row 2: no such image. Received: image='c.png'"),
        ({"x1": None}, "the table must have the columns .* x1 is missing"),
        ({"segmentation": [[[1, 1, 9, 1, 9, 9]], None, None]}, "row 2: segmentation is missing"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(changes, line):
    rows = {name: value for name, value in {**ROWS, **changes}.items() if value is not None}
    with pytest.raises(DataError, match=line):
        from_table({"a.png": IMAGE, "b.jpg": IMAGE}, table(**rows))


def test_what_has_no_columns_is_no_table():
    with pytest.raises(TypeError, match="table must have columns. Received: SimpleNamespace"):
        from_table({}, types.SimpleNamespace())
