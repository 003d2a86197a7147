"""data/formats/from_via.py: both versions, their shapes and their classes."""

import json
import math

import numpy as np
import pytest

from keras_maskrcnn.data.formats import from_via, via_json

RECTANGLE = {"name": "rect", "x": 4, "y": 5, "width": 10, "height": 6}
POLYGON = {"name": "polygon", "all_points_x": [4, 14, 14, 4], "all_points_y": [5, 5, 11, 11]}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def read(images, content, **options):
    path = images.parent / "via.json"
    path.write_text(json.dumps(content))
    return via_json(images, path, **options)


def entry(*regions, name="a.png"):
    return {f"{name}1234": {"filename": name, "size": 1234, "regions": list(regions)}}


def test_images_are_numbered_by_name_and_keep_those_without_regions(images):
    content = {**entry(name="b.jpg"), **entry(region(POLYGON), region(RECTANGLE))}
    dataset = read(images, content)
    assert (dataset.image_ids, dataset.file_names) == ((1, 2), ("a.png", "b.jpg"))
    assert dataset.sizes == ((20, 30), (20, 30))
    assert dataset.num_instances.tolist() == [2, 0]
    assert dataset.annotation_ids == (1, 2)
    assert (dataset.class_names, dataset.category_ids) == (("object",), (1,))
    np.testing.assert_array_equal(dataset.boxes, [[4, 5, 14, 11]] * 2)


def test_the_annotations_are_the_content_of_a_coco_json(images):
    (annotation,) = read(images, entry(region(POLYGON))).annotations["annotations"]
    assert annotation == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [4.0, 5.0, 10.0, 6.0],
        "segmentation": [[4, 5, 14, 5, 14, 11, 4, 11]],
        "area": 60,
        "iscrowd": 0,
    }


def test_a_project_and_version_1_with_its_dict_of_regions_are_read(images):
    files = {"a.png1234": {"filename": "a.png", "regions": {"0": region(RECTANGLE)}}}
    project = {"_via_settings": {}, "_via_img_metadata": files, "_via_attributes": {}}
    assert read(images, files).num_instances.tolist() == [1]
    assert read(images, project).num_instances.tolist() == [1]


def test_rectangles_circles_and_ellipses_have_their_areas(images, masks_of, box):
    circle = {"name": "circle", "cx": 15, "cy": 10, "r": 8}
    ellipse = {"name": "ellipse", "cx": 15, "cy": 10, "rx": 9, "ry": 4}
    turned = {**ellipse, "theta": math.pi / 2}
    regions = [region(shape) for shape in (RECTANGLE, circle, ellipse, turned)]
    dataset = read(images, entry(*regions))
    masks = masks_of(dataset)
    np.testing.assert_array_equal(masks[0], box(4, 5, 14, 11))
    # COCO rounds a polygon to fifths of a pixel.
    np.testing.assert_allclose(masks[1:].sum(axis=(1, 2)), np.pi * np.array([64, 36, 36]), rtol=0.1)
    np.testing.assert_allclose(dataset.boxes[1:3], [[7, 2, 23, 18], [6, 6, 24, 14]], atol=0.01)
    np.testing.assert_allclose(dataset.boxes[3], [11, 1, 19, 19], atol=0.01)


def test_the_class_is_the_attribute_that_the_user_names(images):
    content = entry(region(POLYGON, kind="dog"), region(POLYGON, kind={"cat": True, "dog": False}))
    dataset = read(images, content, class_attribute="kind")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [2, 1]
    dataset = read(images, content, class_attribute="kind", class_names={7: "dog", 3: "cat"})
    assert (dataset.class_names, dataset.category_ids) == (("cat", "dog"), (3, 7))
    assert read(images, content, class_names=["animal"]).labels.tolist() == [1, 1]


def test_regions_without_an_area_are_counted_and_named(images):
    line = {"name": "polyline", "all_points_x": [1, 5], "all_points_y": [1, 5]}
    point = {"name": "point", "cx": 3, "cy": 3}
    outside = {**RECTANGLE, "x": 40}
    dataset = read(images, entry(*map(region, (POLYGON, line, point, outside))))
    assert dataset.num_instances.tolist() == [1]
    assert dataset.dropped == {
        from_via.NO_AREA: 2,
        "annotation without a mask pixel inside the image": 1,
    }
    assert dataset.examples[from_via.NO_AREA][0].endswith("via.json: 'a.png': region 1")


def test_options_of_coco_dict_are_passed_on(images):
    content = {**entry(name="b.jpg"), **entry(region(POLYGON))}
    dataset = read(images, content, keep_empty=False, mask_size=14, category_ids=[5, 1])
    assert (dataset.file_names, dataset.mask_size) == (("a.png",), 14)
    assert dataset.labels.tolist() == [2]


def test_without_classes_one_name_is_needed(images):
    with pytest.raises(ValueError, match="class_names must be a single name.* Received: .*'b'"):
        read(images, entry(region(POLYGON)), class_names=["a", "b"])
