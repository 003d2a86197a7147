"""data/items.py: an object of the user becomes a data set, with the messages of files."""

import copy
import json
import pathlib
import pickle
import re

import numpy as np
import pytest
import tensorflow as tf
from in_memory import Items
from PIL import Image

from keras_maskrcnn.data import from_items, graph_reader, tiled
from keras_maskrcnn.data.coco_checks import NO_AREA
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.items import Place

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "data_memory.md"


class Broken(Items):
    """Its first image cannot be read."""

    def load_image(self, index):
        if index == 0:
            raise OSError("the disk is away")
        return super().load_image(index)


class Sized(Items):
    """It knows the sizes of its images."""

    def size(self, index):
        return 20, 30


def test_an_object_is_asked_by_index():
    source = Sized()
    found = from_items(source)
    assert source.read == [] and (found.class_names, len(found)) == (("dog",), 2)
    assert (found.file_names, found.image_ids) == (("image 0", "image 1"), (0, 1))
    assert (found.load_image(1) == 50).all() and source.read == [1]
    assert found.has_masks and found.load(0)["masks"].mean() > 230
    assert not from_items(source, masks=False).has_masks
    with pytest.raises(TypeError, match="source must have .* Received: list without load_image"):
        from_items([1, 2])


def test_images_of_pillow_gray_and_other_dtypes_are_fitted():
    for image, options in (
        (Image.new("L", (30, 20), 7), {}),
        (np.full((20, 30), 7, np.uint8), {}),
        (np.full((20, 30, 1), 7 * 256, np.uint16), {}),
        (np.full((20, 30, 3), 7, np.float64), {"image_dtype": "float32", "pixel_max": 9}),
    ):
        source = Items()
        source.load_image = lambda index, image=image: image
        pixels = from_items(source, **options).load_image(0)
        assert pixels.shape == (20, 30, 3) and (pixels == 7).all()
        assert pixels.dtype == options.get("image_dtype", "uint8")


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (
            np.zeros((3, 20, 40), np.uint8),
            r"image 0: an image must be \(H, W, C\), not \(C, H, W\)",
        ),
        (np.zeros(20, np.uint8), "image 0: an image must be"),
        (np.zeros((20, 30, 5), np.uint8), "image 0: an image must have 3 bands"),
        (np.zeros((20, 30, 3)), "image 0: pixels must be uint8 or uint16"),
        ("a.png", "image 0: an image must be"),
    ],
)
def test_what_is_no_image_is_refused_when_the_set_is_made(image, line):
    source = Items()
    source.load_image = lambda index: image
    with pytest.raises(DataError, match=line):
        from_items(source)


def test_an_image_that_cannot_be_read_is_an_error_or_left_out(caplog):
    with pytest.raises(DataError, match=r"image 0: load_image\(0\) failed. Received: OSError"):
        from_items(Broken())
    found = from_items(Broken(), on_error="skip")
    assert (found.image_ids, found.skipped) == ((1,), {"image 0": 1})
    assert list(found.dropped.values()) == [1] and "image 0, instance 0" in found.report()
    assert (found.load_image(0) == 50).all()

    class SizedBroken(Sized, Broken):
        pass

    found = from_items(SizedBroken())
    read = graph_reader.reader(found, True, None, False, "skip")
    assert read(tf.constant(0, tf.int64))["index"] == 1  # the next image
    assert found.skipped == {"image 0": 1}
    with pytest.raises(DataError, match="none of 1 images can be read"):
        from_items(type("One", (Broken,), {"__len__": lambda self: 1})(), on_error="skip")


def test_an_image_of_another_size_than_before_is_an_error():
    source = Sized(masks=None, boxes=[[1, 1, 9, 9]])
    source.size = lambda index: (20, 31)
    found = from_items(source)
    with pytest.raises(DataError, match="image 1: the image must keep its size, 20 x 31"):
        found.load_image(1)
    for size in (20, (20, 30, 3), ("a", 30)):
        source.size = lambda index, size=size: size
        with pytest.raises(DataError, match="image 0: size must return .height, width.. Received"):
            from_items(source)
    source.size = lambda index: (0, 30)
    with pytest.raises(DataError, match="image 0: height and width must be positive integers"):
        from_items(source)


@pytest.mark.parametrize(
    ("changes", "options", "line"),
    [
        ({"masks": None, "boxes": [[9, 1, 5, 5]]}, {}, "^image 0, instance 0: a box must be"),
        ({"masks": None, "polygons": [[[1, 2, 3]]]}, {}, "^image 0, instance 0: segmentation must"),
        (
            {"labels": ["cow"]},
            {"class_names": ["dog"]},
            r"instance 0: unknown class, not one of \[",
        ),
        ({"labels": [0]}, {"class_names": ["dog"]}, "class=0. Ids of a list of names count from 1"),
        (
            {"masks": None, "boxes": [[1, 1, 5, 5]]},
            {"masks": True},
            "^image 0, .* segmentation is m",
        ),
        ({"iscrowd": [3]}, {}, "^image 0, instance 0: iscrowd must be 0 or 1"),
        ({"labels": [1.5]}, {}, "a label must be an id or a name. Received: label=1.5"),
    ],
)
def test_annotations_are_checked_like_files(changes, options, line):
    with pytest.raises(DataError, match=line):
        from_items(Items(**changes), **options)


def test_what_cannot_be_used_is_counted_by_its_place():
    found = from_items(Items(masks=None, boxes=[[1, 1, 1, 5]]))
    assert found.dropped == {NO_AREA: 2}
    assert "(ids image 0, instance 0, image 1, instance 0)" in found.report()


def test_crowds_and_classes_are_options_as_of_files():
    source = Items(iscrowd=[True])
    assert from_items(source, crowds="objects").num_instances.tolist() == [1, 1]
    assert from_items(source, crowds="ignore").has_ignored
    known = from_items(Items(labels=[7]), category_ids=[3, 7], class_names=["a", "b"])
    assert (known.class_names, known.labels.tolist()) == (("a", "b"), [2, 2])


def test_a_place_is_a_number_for_files_and_words_for_people():
    place = Place(5, 3, 2)
    for same in (place, pickle.loads(pickle.dumps(place)), copy.deepcopy(place)):
        assert (same, repr(same)) == (5, "image 3, instance 2")
    assert json.dumps([place]) == "[5]"


def test_tiles_are_cut_from_images_in_memory():
    cut = tiled(from_items(Items()), 16, 4)
    assert [image.shape for image in map(cut.load_image, range(len(cut)))] == [(16, 16, 3)] * len(
        cut
    )
    assert {int(cut.load_image(i).max()) for i in range(len(cut))} == {0, 50}
    assert cut.tile_counts.objects == 2


# The adapters of the page, as they are written there.


def adapter(name):
    """Returns a class of docs/data_memory.md, and the number of its lines."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (block,) = [block for block in blocks if f"class {name}" in block]
    code = block[block.index(f"class {name}") :].split("\n\n\n")[0]
    namespace = {"np": np}
    exec(code, namespace)
    return namespace[name], len([line for line in code.splitlines() if line.strip()])


class Tensor:
    """Stands in for torch.Tensor: NumPy takes it by `__array__`."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


def torch_dataset(make):
    """Returns a torch-style data set of (image, target); `make` makes tensors."""
    mask = np.zeros((2, 20, 30), np.uint8)
    mask[0, 5:11, 4:14] = mask[1, :3, :3] = 1
    target = {
        "boxes": make(np.float32([[4, 5, 14, 11], [0, 0, 3, 3]])),
        "labels": make(np.int64([1, 2])),
        "masks": make(mask),
        "image_id": 5,
        "area": make(np.float32([60, 9])),
        "iscrowd": make(np.int64([0, 0])),
    }
    return [(make(np.full((3, 20, 30), 9, np.uint8)), target)] * 2


def check_torch(dataset):
    found, lines = adapter("OfTorch")
    assert lines <= 10
    found = from_items(found(dataset), class_names=["cat", "dog"])
    assert (found.labels.tolist(), found.has_masks) == ([1, 2] * 2, True)
    np.testing.assert_array_equal(found.load(1)["boxes"], [[4, 5, 14, 11], [0, 0, 3, 3]])
    assert found.load(1)["image"].shape == (20, 30, 3) and (found.load_image(0) == 9).all()


def test_a_torch_dataset_is_read_by_the_adapter_of_the_page():
    check_torch(torch_dataset(Tensor))


def test_real_tensors_are_read_by_the_adapter_of_the_page():
    torch = pytest.importorskip("torch")
    check_torch(torch_dataset(torch.as_tensor))


ROW = {
    "image": Image.new("L", (30, 20), 9),
    "width": 30,
    "height": 20,
    "objects": {"bbox": [[4.0, 5.0, 10.0, 6.0]], "category": [1]},
}
EMPTY = {**ROW, "objects": {"bbox": [], "category": []}}


class Table(list):
    """Stands in for a table of Hugging Face `datasets`."""

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def check_hugging_face(table):
    found, lines = adapter("OfHuggingFace")
    assert lines <= 10
    found = from_items(found(table), class_names=dict(enumerate(["cat", "dog"])))
    assert (found.category_ids, found.labels.tolist()) == ((0, 1), [2])
    np.testing.assert_array_equal(found.boxes, [[4, 5, 14, 11]])
    assert (found.sizes, found.has_masks) == (((20, 30),) * 2, False)
    assert found.load_image(0).shape == (20, 30, 3) and (found.load_image(1) == 9).all()


def test_a_table_of_hugging_face_is_read_by_the_adapter_of_the_page():
    check_hugging_face(Table([ROW, EMPTY]))


def test_a_real_table_of_hugging_face_is_read_by_the_adapter_of_the_page():
    datasets = pytest.importorskip("datasets")
    check_hugging_face(datasets.Dataset.from_list([ROW, EMPTY]))
