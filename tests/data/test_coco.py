"""data/coco.py: the content of a data set, and the report of dropped parts."""

import pickle

import numpy as np
import pytest
from absl import logging
from PIL import Image
from pycocotools import mask as mask_api
from small_coco import (
    HEIGHT,
    IMAGE,
    RECTANGLE,
    WIDTH,
    annotation,
    compressed,
    content,
    read,
    uncompressed,
    write,
)

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.coco import coco_dict
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.ops import masks as mask_ops


def test_load_gives_image_boxes_labels_and_masks(tmp_path):
    dataset = read(tmp_path, content(), mask_size=16)
    example = dataset.load(0)
    np.testing.assert_array_equal(example["image"], np.asarray(Image.open(tmp_path / "a.png")))
    np.testing.assert_array_equal(example["boxes"], [[4, 5, 14, 11]])
    np.testing.assert_array_equal(example["labels"], [1])
    assert example["masks"].shape == (1, 16, 16)
    assert (example["masks"] > 127).all() and (example["masks"][0, 1:-1, 1:-1] == 255).all()
    dtypes = [example[name].dtype for name in ("image", "boxes", "labels", "masks")]
    assert dtypes == [np.uint8, np.float32, np.int32, np.uint8]


def test_the_dataset_describes_the_json(tmp_path):
    dataset = read(tmp_path, content([annotation(1), annotation(2)]))
    assert (len(dataset), dataset.num_classes, dataset.max_instances) == (1, 3, 2)
    assert dataset.image_ids == (9,)
    assert dataset.file_names == ("a.png",)
    assert dataset.sizes == ((HEIGHT, WIDTH),)
    assert dataset.num_instances.tolist() == [2]
    assert (dataset.images, dataset.annotations) == (str(tmp_path), str(tmp_path / "a.json"))
    assert (dataset.mask_size, dataset.dropped, dataset.report()) == (112, {}, "")


def test_a_json_in_memory_is_the_same_data_set(tmp_path):
    from_file = read(tmp_path, content([annotation(1), annotation(2)]))
    dataset = coco_dict(tmp_path, content([annotation(1), annotation(2)]))
    assert dataset.annotations == content([annotation(1), annotation(2)])
    np.testing.assert_array_equal(dataset.boxes, from_file.boxes)
    assert dataset.counts == from_file.counts


def test_labels_follow_ascending_category_ids(tmp_path):
    annotations = [annotation(i, category_id=c) for i, c in enumerate((31, 7, 12))]
    dataset = read(tmp_path, content(annotations))
    assert dataset.category_ids == (7, 12, 31)
    assert dataset.class_names == ("c7", "c12", "c31")
    assert dataset.load(0)["labels"].tolist() == [3, 1, 2]


def test_labels_follow_the_category_ids_of_a_trained_model(tmp_path):
    annotations = [annotation(i, category_id=c) for i, c in enumerate((31, 7))]
    dataset = read(tmp_path, content(annotations), category_ids=[31, 7, 99])
    assert dataset.class_names == ("c31", "c7", "99")  # the json has no name for 99
    assert dataset.load(0)["labels"].tolist() == [1, 2]


@pytest.mark.parametrize("segmentation", [compressed(), uncompressed()])
def test_run_lengths_equal_the_polygon(tmp_path, segmentation):
    box = [2, 2, 20, 15]
    as_polygon = read(tmp_path, content([annotation(bbox=box)]), mask_size=28)
    as_runs = read(
        tmp_path, content([annotation(bbox=box, segmentation=segmentation)]), mask_size=28
    )
    np.testing.assert_array_equal(as_runs.load(0)["masks"], as_polygon.load(0)["masks"])


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_masks_are_crops_of_the_whole_mask(tmp_path):
    polygon = [[3.2, 2, 25.7, 4.5, 20, 18, 9, 11.3], [1, 15, 6, 15, 6, 19]]
    box = [1.3, 2.1, 24.4, 16.2]
    dataset = read(tmp_path, content([annotation(bbox=box, segmentation=polygon)]), mask_size=28)
    mask = mask_api.decode(mask_api.merge(mask_api.frPyObjects(polygon, HEIGHT, WIDTH)))
    expected = mask_ops.crop(mask, dataset.boxes[0], 28)
    actual = dataset.load(0)["masks"][0]
    assert np.abs(actual.astype(int) - expected).max() <= 1  # float32 rounding


def test_boxes_are_clipped_to_the_image(tmp_path):
    dataset = read(tmp_path, content([annotation(bbox=[-5, -5, 100, 16])]))
    np.testing.assert_array_equal(dataset.boxes, [[0, 0, WIDTH, 11]])


def test_images_without_instances_stay(tmp_path):
    dataset = read(tmp_path, content([]))
    example = dataset.load(0)
    assert len(dataset) == 1 and dataset.max_instances == 1
    assert example["boxes"].shape == (0, 4) and example["boxes"].dtype == np.float32
    assert example["labels"].shape == (0,) and example["labels"].dtype == np.int32
    assert example["masks"].shape == (0, 112, 112)


def test_missing_iscrowd_and_area_are_fine(tmp_path):
    entry = annotation()
    del entry["iscrowd"]
    assert read(tmp_path, content([entry])).num_instances.tolist() == [1]


def test_string_ids_are_kept(tmp_path):
    images = [{"id": "x", "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    dataset = read(tmp_path, content([annotation("k", image_id="x")], images=images))
    assert dataset.image_ids == ("x",) and dataset.num_instances.tolist() == [1]


def test_a_pickled_dataset_loads_the_same(tmp_path):
    dataset = read(tmp_path, content())
    copy = pickle.loads(pickle.dumps(dataset)).load(0)
    for name, value in dataset.load(0).items():
        np.testing.assert_array_equal(copy[name], value)


def test_the_content_of_what_is_kept_is_read_without_drops(tmp_path):
    entries = [annotation(5), annotation(2, iscrowd=1), annotation("k", bbox=[0, 0, 0, 0])]
    entries.append(annotation(4, segmentation=[*RECTANGLE, [1, 1, 2, 2]], area=7, note="x"))
    dataset = read(tmp_path, content(entries, info={"year": 2017}))
    kept = dataset.content()
    assert dataset.annotation_ids == (5, 4)
    assert kept == content(
        [annotation(5, area=60), annotation(4, area=7, note="x")], info={"year": 2017}
    )
    assert coco_dict(tmp_path, kept).dropped == {}


def test_the_content_has_no_image_that_was_dropped(tmp_path):
    images = [*content()["images"], {**content()["images"][0], "id": 10}]
    dataset = read(tmp_path, content(images=images), keep_empty=False)
    assert [image["id"] for image in dataset.content()["images"]] == [9]


# Dropped, counted and reported parts.


def test_images_without_instances_go_when_asked(tmp_path):
    images = [*content()["images"], {**content()["images"][0], "id": 10}]
    dataset = read(tmp_path, content(images=images), keep_empty=False)
    assert dataset.image_ids == (9,)
    assert dataset.dropped == {coco_checks.NO_INSTANCE: 1}
    assert dataset.report().endswith("(ids 10)")


def test_the_report_names_three_ids_per_reason_and_is_logged_once(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda *parts: logged.append(parts[0] % parts[1:]))
    crowds = [annotation(i, iscrowd=1) for i in range(1, 6)]
    dataset = read(tmp_path, content([*crowds, annotation(6, bbox=[0, 0, 0, 0])]))
    first, second = dataset.report().splitlines()
    assert first == f"dropped 5: {coco_checks.CROWD} (ids 1, 2, 3, ...)"
    assert second == f"dropped 1: {coco_checks.NO_AREA} (ids 6)"
    assert logged == [f"{tmp_path / 'a.json'}: {dataset.report()}"]


def test_what_a_reader_dropped_before_is_reported_with_the_rest(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda *parts: logged.append(parts[0] % parts[1:]))
    write(tmp_path, {})
    earlier = {"line": ["a.png: 1", "a.png: 2"], coco_checks.CROWD: ["b.png: 1"]}
    dataset = coco_dict(tmp_path, content([annotation(3, iscrowd=1)]), dropped=earlier)
    assert dataset.dropped == {"line": 2, coco_checks.CROWD: 2}
    assert dataset.examples[coco_checks.CROWD] == ["b.png: 1", 3]
    assert len(logged) == 1 and len(earlier["line"]) == 2


def test_nothing_is_logged_when_nothing_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(logging, "warning", lambda *parts: pytest.fail("logged"))
    read(tmp_path, content())


# Errors.


def test_no_image_left_is_refused(tmp_path):
    with pytest.raises(DataError, match="no image has instances"):
        read(tmp_path, content([]), keep_empty=False)


def test_a_mask_size_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: mask_size=0"):
        read(tmp_path, content(), mask_size=0)


def test_without_check_images_a_wrong_size_shows_on_load(tmp_path):
    images = [{**IMAGE, "width": 31}]
    dataset = read(tmp_path, content([], images=images), check_images=False)
    with pytest.raises(DataError, match="a.png: the json says width=31"):
        dataset.load(0)


def test_a_size_swapped_by_exif_is_explained(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "b.jpg", exif=exif)
    images = [{**IMAGE, "file_name": "b.jpg"}]
    with pytest.raises(DataError, match=r"b.jpg: .* EXIF orientation tag \(6\) swaps the sides"):
        read(tmp_path, content([], images=images))


# Boxes without masks.


@pytest.mark.parametrize("segmentation", [None, [], "rle", RECTANGLE])
def test_without_masks_only_boxes_are_read(tmp_path, segmentation):
    entry = annotation(segmentation=segmentation)
    dataset = read(tmp_path, content([entry, annotation(2, iscrowd=1)]), masks=False)
    example = dataset.load(0)
    assert set(example) == {"image", "boxes", "labels"}
    np.testing.assert_array_equal(example["boxes"], [[4, 5, 14, 11]])
    assert (dataset.has_masks, dataset.dropped) == (False, {coco_checks.CROWD: 1})
    (kept,) = dataset.content()["annotations"]
    assert kept == {**entry, "area": 60}


def test_masks_are_read_if_there_are_any(tmp_path):
    bare = annotation(2)
    del bare["segmentation"]
    assert not read(tmp_path, content([bare]), masks=None).has_masks
    assert not read(tmp_path, content([annotation(segmentation=[])]), masks=None).has_masks
    assert read(tmp_path, content(), masks=None).has_masks
    with pytest.raises(DataError, match="annotation 2: segmentation is missing. A Faster"):
        read(tmp_path, content([annotation(1), bare]), masks=None)


# Crowds as single objects.


def test_crowds_are_read_as_objects_when_asked(tmp_path):
    crowds = [annotation(1, iscrowd=1, segmentation=uncompressed()), annotation(2)]
    dataset = read(tmp_path, content(crowds), crowds="objects")
    assert dataset.num_instances.tolist() == [2] and dataset.dropped == {}
    assert [a["iscrowd"] for a in dataset.annotations["annotations"]] == [0, 0]  # for evaluation
    assert crowds[0]["iscrowd"] == 1
    with pytest.raises(ValueError, match="crowds must be one of 'drop', 'ignore', 'objects'. Rec"):
        read(tmp_path, content(crowds), crowds="keep")


# Names of classes.


def test_the_same_id_must_have_the_name_of_the_training(tmp_path):
    names = ["c31", "c7", "seven"]
    with pytest.raises(DataError, match="category 12 was 'seven' in training.* name='c12'."):
        read(tmp_path, content(), category_ids=[31, 7, 12], class_names=names)
    same = ["C31 ", "c7", "C12"]  # capitals and spaces don't count
    dataset = read(tmp_path, content(), category_ids=[31, 7, 12], class_names=same)
    assert dataset.class_names == tuple(same)
    with pytest.raises(DataError, match="class_names must be one for each of 3 categories"):
        read(tmp_path, content(), class_names=["c7"])


def test_a_category_that_the_json_lacks_has_the_name_of_the_training(tmp_path):
    dataset = read(
        tmp_path, content(), category_ids=[7, 99, 12, 31], class_names=["c7", "x", "c12", "c31"]
    )
    assert dataset.class_names == ("c7", "x", "c12", "c31")


@pytest.mark.parametrize("name", ["class 2", "12", None])
def test_a_class_without_a_name_is_logged_and_not_refused(tmp_path, caplog, name):
    categories = [{"id": 7, "name": "c7"}, {"id": 12, **({"name": name} if name else {})}]
    read(tmp_path, content(categories=categories), class_names=["c7", "c12"])
    assert r"1 classes have no name here or in training (category ids [12])" in caplog.text


# Crowds as regions to ignore.


def test_crowds_are_regions_to_ignore_when_asked(tmp_path):
    images = [{**IMAGE, "id": 10}, IMAGE, {**IMAGE, "id": 11}]
    entries = [annotation(1), annotation(2, iscrowd=1, bbox=[20, 5, 50, 6]), annotation(3)]
    entries.append(annotation(4, image_id=11))
    dataset = read(tmp_path, content(entries, images=images), crowds="ignore", keep_empty=False)
    assert dataset.has_ignored and dataset.annotation_ids == (1, 3, 4)
    assert dataset.dropped == {coco_checks.NO_INSTANCE: 1}
    assert [regions.tolist() for regions in dataset.ignored] == [[[20, 5, 30, 11]], []]
    first, second = dataset.load(0)["ignored"], dataset.load_targets(1)["ignored"]
    assert (first.shape, second.shape, first.dtype) == ((1, 4), (0, 4), np.float32)
    kept = [(entry["id"], entry["iscrowd"]) for entry in dataset.content()["annotations"]]
    assert kept == [(1, 0), (2, 1), (3, 0), (4, 0)]


def test_a_data_set_without_crowds_is_the_same_with_crowds_ignored(tmp_path):
    plain, same = (read(tmp_path, content(), crowds=way) for way in ("drop", "ignore"))
    assert not same.has_ignored and set(same.load(0)) == set(plain.load(0))


def test_a_crowd_to_ignore_needs_a_sound_box(tmp_path):
    with pytest.raises(DataError, match="annotation 1: bbox must be 4 finite numbers"):
        read(tmp_path, content([annotation(iscrowd=1, bbox=[1, 2, 3])]), crowds="ignore")


# Images that cannot be read.


def test_an_image_that_is_missing_is_skipped_when_asked(tmp_path, caplog):
    images = [*content()["images"], {**IMAGE, "id": 10, "file_name": "b.png"}]
    images.append({**IMAGE, "id": 11, "file_name": "a.png", "width": 31})
    entries = [annotation(1), annotation(2, image_id=10), annotation(3, image_id=11)]
    dataset = read(tmp_path, content(entries, images=images), on_error="skip")
    assert (dataset.image_ids, dataset.num_instances.tolist()) == ((9,), [1])
    assert dataset.skipped == {"b.png": 1, "a.png": 1}
    assert dataset.dropped == {coco_checks.UNREADABLE: 2}
    assert (
        "skipped unreadable image 1: " in caplog.text
        and "b.png: image file does not" in caplog.text
    )
    assert [image["id"] for image in dataset.content()["images"]] == [9]
    with pytest.raises(DataError, match="none of 1 images can be read"):
        read(tmp_path, content(images=[{**IMAGE, "file_name": "b.png"}]), on_error="skip")
