"""data/coco.py: what is read, what is dropped and counted, what is refused with which line."""

import json
import pickle

import numpy as np
import pytest
from absl import logging
from PIL import Image
from pycocotools import mask as mask_api

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.coco import coco_dict, coco_json, require_instances
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.ops import masks as mask_ops

HEIGHT, WIDTH = 20, 30
RECTANGLE = [[4, 5, 14, 5, 14, 11, 4, 11]]  # x 4..14, y 5..11
BOX = [4, 5, 10, 6]  # the same, xywh


def rectangle_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:11, 4:14] = 1
    return mask


def compressed():
    rle = mask_api.encode(np.asfortranarray(rectangle_mask()))
    return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}


def uncompressed():
    flat = rectangle_mask().flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def annotation(identity=1, **changes):
    entry = {"id": identity, "image_id": 9, "category_id": 7, "bbox": BOX}
    return {**entry, "segmentation": RECTANGLE, "iscrowd": 0, **changes}


def content(annotations=None, **changes):
    """One image (id 9) and categories 31, 7, 12, with one annotation unless told otherwise."""
    return {
        "images": [{"id": 9, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [annotation()] if annotations is None else annotations,
        "categories": [{"id": i, "name": f"c{i}"} for i in (31, 7, 12)],
        **changes,
    }


def write(folder, json_content):
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "a.png")
    (folder / "a.json").write_text(json.dumps(json_content))
    return folder, folder / "a.json"


def read(folder, json_content, **options):
    return coco_json(*write(folder, json_content), **options)


# What is read.


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


# What is dropped, counted and reported.


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (coco_checks.CROWD, {"iscrowd": 1, "segmentation": uncompressed()}),
        (coco_checks.NO_AREA, {"bbox": [4, 5, 0, 6]}),
        (coco_checks.NO_AREA, {"bbox": [4, 5, 10, -6]}),
        (coco_checks.NO_AREA, {"bbox": [WIDTH + 1, 5, 10, 6]}),
        (coco_checks.NO_POLYGON, {"segmentation": []}),
        (coco_checks.NO_POLYGON, {"segmentation": [[]]}),
        (coco_checks.NO_POLYGON, {"segmentation": [[4, 5, 14, 11]]}),
        (coco_checks.NO_MASK, {"bbox": [20, 12, 5, 5]}),
        (coco_checks.NO_MASK, {"segmentation": [[4, 5, 4, 5, 4, 5]]}),
        (
            coco_checks.NO_MASK,
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}},
        ),
    ],
)
def test_useless_annotations_are_dropped_and_counted(tmp_path, reason, changes):
    dataset = read(tmp_path, content([annotation(1), annotation(2, **changes)]))
    assert dataset.dropped == {reason: 1}
    assert dataset.num_instances.tolist() == [1]
    assert dataset.report() == f"dropped 1: {reason} (ids 2)"


def test_a_short_polygon_beside_others_is_dropped_alone(tmp_path):
    dataset = read(tmp_path, content([annotation(segmentation=[*RECTANGLE, [1, 1, 2, 2]])]))
    assert dataset.dropped == {coco_checks.FEW_POINTS: 1}
    assert dataset.num_instances.tolist() == [1]


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


# What is refused.

IMAGE = content()["images"][0]
RLE_SIZE = {"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}
FAR = [[4, 5, 1e18, 5, 14, 11]]


def runs(counts):
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"image_id": 8}, "annotation 1: unknown image_id. Received: image_id=8."),
        ({"image_id": [9]}, r"annotation 1: unknown image_id. Received: image_id=\[9\]."),
        ({"category_id": 8}, "annotation 1: unknown category_id. Received: category_id=8."),
        ({"bbox": None}, "annotation 1: bbox is missing."),
        ({"segmentation": None}, "annotation 1: segmentation is missing."),
        ({"bbox": [1, 2, 3]}, r"bbox must be 4 finite numbers.* Received: bbox=\[1, 2, 3\]."),
        ({"bbox": [1, 2, 3, "4"]}, "bbox must be 4 finite numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "bbox must be 4 finite numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "bbox must be 4 finite numbers"),
        ({"bbox": "1234"}, "bbox must be 4 finite numbers"),
        ({"iscrowd": "0"}, "iscrowd must be 0 or 1. Received: iscrowd='0'."),
        ({"segmentation": [["4", "5", "14", "5", "14", "11"]]}, "must be polygons"),
        ({"segmentation": [[4, 5, 14, 5, 14, float("nan")]]}, "must be polygons"),
        ({"segmentation": [[4, 5, 14, 5, 14, 11, 3]]}, "must be polygons"),
        ({"segmentation": RECTANGLE[0]}, "must be polygons"),
        ({"segmentation": FAR}, "annotation 1: polygon far outside the image. Received: segm"),
        ({"segmentation": "rle"}, "must be a list of polygons, or an object of size and counts"),
        ({"segmentation": {"counts": [600]}}, "an object of size and counts"),
        ({"segmentation": RLE_SIZE}, r"must have the image's size \[20, 30\]"),
        (runs([100]), "counts must be run lengths that cover the image exactly"),
        (runs([-10, 610]), "run lengths that cover"),
        (runs([0.5, 599.5]), "run lengths that cover"),
        (runs([2**62] * 4 + [600]), "run lengths that cover"),
        (runs([]), "run lengths that cover"),
        (runs(None), "run lengths that cover"),
        (runs(""), "run lengths that cover"),
        (runs("P"), "run lengths that cover"),  # ends inside a number
        (runs("12l1"), "run lengths that cover"),
        (runs("PPPPPPPPPPPP1"), "run lengths that cover"),
        (runs("é\x00"), "run lengths that cover"),
    ],
)
def test_a_broken_annotation_is_refused_in_one_line_that_names_it(tmp_path, changes, line):
    with pytest.raises(DataError, match=line) as caught:
        read(tmp_path, content([annotation(1, **changes)]))
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: annotation 1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"images": [IMAGE, IMAGE]}, "a.json: image 9: two images have this id."),
        ({"images": []}, "a.json: there are no images."),
        ({"images": {}}, "with a list of objects 'images'. Received: {}."),
        ({"annotations": {}}, "with a list of objects 'annotations'"),
        ({"categories": [3]}, r"with a list of objects 'categories'. Received: \[3\]."),
        ({"categories": []}, "category ids must be distinct, at least one"),
        ({"categories": [{"id": 1}, {"id": 1}]}, "an integer id of its own. Received: id=1."),
        ({"categories": [{"name": "x"}]}, "an integer id of its own. Received: id=None."),
        ({"images": [{**IMAGE, "id": None}]}, "every image needs an id.* Received: id=None."),
        ({"images": [{**IMAGE, "file_name": 3}]}, "image 9: file_name must be a path"),
        ({"images": [{**IMAGE, "file_name": "/a.png"}]}, "image 9: .*inside the folder"),
        ({"images": [{**IMAGE, "file_name": "b/../../a.png"}]}, "image 9: .*inside the folder"),
        ({"images": [{**IMAGE, "width": 0}]}, "must be positive integers. Received: .*width=0"),
        ({"images": [{**IMAGE, "height": "20"}]}, "Received: height='20'"),
        ({"images": [{**IMAGE, "width": 10**30}]}, "a product of at most 178956970"),
        ({"images": [{**IMAGE, "file_name": "b.png"}]}, "b.png: image file does not exist."),
        (
            {"images": [{**IMAGE, "width": 31}], "annotations": []},
            "a.png: the json says width=31, height=20. Received: width=30, height=20.$",
        ),
        (
            {"annotations": [annotation(1), annotation(1)]},
            "a.json: annotation 1: two annotations have this id.",
        ),
        ({"annotations": [annotation(None)]}, "every annotation needs an id"),
    ],
)
def test_a_broken_json_is_refused_in_one_line(tmp_path, changes, line):
    with pytest.raises(DataError, match=line) as caught:
        read(tmp_path, content(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "", "\x00", "[" * 100_000])
def test_an_unreadable_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="a.json: cannot be read as json"):
        coco_json(tmp_path, tmp_path / "a.json")


def test_a_json_that_is_missing_or_no_object_is_refused(tmp_path):
    with pytest.raises(DataError, match="b.json: cannot be read as json"):
        coco_json(tmp_path, tmp_path / "b.json")
    with pytest.raises(DataError, match="a COCO json is an object.*Received: \\[\\]."):
        read(tmp_path, [])


def test_categories_that_the_model_does_not_know_are_refused(tmp_path):
    with pytest.raises(DataError, match="annotation 1: unknown category_id.*=7"):
        read(tmp_path, content(), category_ids=[12, 31])
    with pytest.raises(DataError, match="must be distinct.* Received: \\(7, 7\\)"):
        read(tmp_path, content(), category_ids=[7, 7])


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
    with pytest.raises(DataError, match="annotation 2: segmentation is missing. Only a Faster"):
        read(tmp_path, content([annotation(1), bare]), masks=None)


# Crowds that are single objects.


def test_crowds_are_read_as_objects_when_asked(tmp_path):
    crowds = [annotation(1, iscrowd=1, segmentation=uncompressed()), annotation(2)]
    dataset = read(tmp_path, content(crowds), crowds="objects")
    assert dataset.num_instances.tolist() == [2] and dataset.dropped == {}
    assert [a["iscrowd"] for a in dataset.annotations["annotations"]] == [0, 0]  # for evaluation
    assert crowds[0]["iscrowd"] == 1
    with pytest.raises(ValueError, match="crowds must be 'drop' or 'objects'. Received"):
        read(tmp_path, content(crowds), crowds="keep")


# No instance at all.


@pytest.mark.parametrize(
    ("annotations", "line"),
    [
        ([], "Received: no annotations."),
        (
            [annotation(iscrowd=1)],
            r"To read crowds .*--crowds=objects\). Received: 1 dropped: annot",
        ),
        ([annotation(segmentation=[])], r"A Faster R-CNN \(task='boxes', masks=False\) needs no"),
    ],
)
def test_no_instance_at_all_is_an_error_that_says_why(tmp_path, annotations, line):
    dataset = read(tmp_path, content(annotations))
    with pytest.raises(DataError, match=f"a.json: no instance is left to learn from.*{line}"):
        require_instances(dataset)
    require_instances(read(tmp_path, content()))


@pytest.mark.parametrize("area", ["60", [60], float("nan"), -1, None])
def test_an_area_that_no_object_can_have_becomes_the_mask_s(tmp_path, area):
    dataset = read(tmp_path, content([annotation(area=area)]))
    (entry,) = dataset.content()["annotations"]
    assert entry["area"] == mask_api.area({"size": dataset.sizes[0], "counts": dataset.counts[0]})


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
        "skipped, image 1 of such: " in caplog.text and "b.png: image file does not" in caplog.text
    )
    assert [image["id"] for image in dataset.content()["images"]] == [9]
    with pytest.raises(DataError, match="none of 1 images can be read"):
        read(tmp_path, content(images=[{**IMAGE, "file_name": "b.png"}]), on_error="skip")
