"""data/formats/from_labelme.py: shapes, groups, masks, and the search for the image."""

import json

import numpy as np
import pytest
import writers

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.coco_checks import FEW_POINTS
from keras_maskrcnn.data.formats import labelme
from keras_maskrcnn.data.formats.content import NO_PIXEL

SQUARE = [[4, 5], [14, 5], [14, 11], [4, 11]]


def shape(label="cell", kind="polygon", points=SQUARE, **changes):
    return {"label": label, "shape_type": kind, "points": points, "group_id": None, **changes}


def write(folder, *shapes, name="a.json", **changes):
    entry = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "a.png"}
    entry |= {"imageData": None, "imageHeight": 20, "imageWidth": 30}
    (folder / name).write_text(json.dumps({**entry, **changes}))


def test_shapes_become_instances_and_labels_classes(images, masks_of, box):
    write(
        images,
        shape("b"),
        shape("a", "rectangle", [[14, 11], [4, 5]]),  # corners in any order
        shape("a", "circle", [[15, 10], [15, 18]]),
        shape("a", "oriented_rectangle"),
        shape("a", None),  # labelme 3 wrote no shape_type for polygons
    )
    dataset = labelme(images, images)
    assert dataset.class_names == ("a", "b")
    assert dataset.labels.tolist() == [2, 1, 1, 1, 1]
    masks = masks_of(dataset)
    for i in (0, 1, 3, 4):
        np.testing.assert_array_equal(masks[i], box(4, 5, 14, 11))
    np.testing.assert_allclose(dataset.boxes[2], [7, 2, 23, 18], atol=0.01)
    assert dataset.file_names == ("a.png",)  # b.jpg has no json


def test_shapes_of_one_label_and_group_are_one_instance(images, masks_of, box):
    write(
        images,
        shape(group_id=1, points=[[0, 0], [3, 0], [3, 3], [0, 3]]),
        shape("dog", group_id=1),
        shape(group_id=1),
        shape(),
        shape(),
    )
    dataset = labelme(images, images)
    assert dataset.class_names == ("cell", "dog")
    assert dataset.labels.tolist() == [1, 2, 1, 1]
    np.testing.assert_array_equal(masks_of(dataset)[0], box(0, 0, 3, 3) | box(4, 5, 14, 11))
    assert len(dataset.annotations["annotations"][0]["segmentation"]) == 2


def test_masks_fill_the_box_of_their_points_both_corners_included(images, masks_of, box):
    mask = np.ones((6, 10), bool)
    mask[2:4, 3:5] = False  # a hole
    encoded = writers.png_base64(mask)
    expected = box(4, 5, 14, 11) - box(7, 7, 9, 9)
    write(
        images,
        shape(kind="mask", points=[[4, 5], [13, 10]], mask=encoded),
        shape(kind="mask", points=[[4.4, 4.6], [13.4, 9.6]], mask=encoded),
        shape(kind="mask", points=[[-4, 15], [5, 20]], mask=encoded),  # partly outside
        shape(kind="mask", points=[[50, 5], [59, 10]], mask=encoded),  # outside
        shape(kind="mask", points=[[4, 5], [13, 10]], mask=encoded, group_id=0),
        shape(points=[[0, 0], [3, 0], [3, 3], [0, 3]], group_id=0),
        shape(points=[[0, 0], [3, 0]], group_id=0),
    )
    dataset = labelme(images, images)
    masks = masks_of(dataset)
    np.testing.assert_array_equal(masks[0], expected)
    np.testing.assert_array_equal(masks[1], expected)
    np.testing.assert_array_equal(masks[2, 15:, :6], mask[:5, 4:])
    assert masks[2].sum() == mask[:5, 4:].sum()
    np.testing.assert_array_equal(masks[3], expected | box(0, 0, 3, 3))
    assert dataset.dropped == {FEW_POINTS: 1, NO_PIXEL: 1}


def test_the_image_is_beside_its_json_or_else_in_the_folder_of_images(images, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    write(folder, shape(), imagePath="..\\images\\a.png")
    write(folder, shape(), imagePath="b.jpg", name="b.json")
    assert labelme(images, folder).file_names == ("a.png", "b.jpg")


@pytest.mark.parametrize(
    "image_path",
    [
        "C:\\Users\\me\\a.png",
        "c:/pics/a.png",
        "..\\pics\\a.png",
        "/home/me/a.png",
        "sub\\a.png",
        "../../a.png",
        "\\\\server\\share\\a.png",
    ],
)
def test_of_a_path_of_another_machine_the_name_counts(images, tmp_path, image_path):
    write(images, shape(), imagePath=image_path)
    assert labelme(images, images).file_names == ("a.png",)
    folder = tmp_path / "labels"
    folder.mkdir()
    write(folder, shape(), imagePath=image_path)
    assert labelme(images, folder).file_names == ("a.png",)


def test_of_images_of_one_name_the_one_in_the_same_place_counts(images, tmp_path):
    for name in ("x", "y", "z"):
        (images / name).mkdir()
        (images / "a.png").replace(images / name / "a.png") if name == "x" else None
        (images / name / "a.png").write_bytes((images / "x" / "a.png").read_bytes())
        folder = tmp_path / "labels" / name
        folder.mkdir(parents=True)
        write(folder, shape(), imagePath="D:\\a.png")
    assert labelme(images, tmp_path / "labels").file_names == ("x/a.png", "y/a.png", "z/a.png")
    write(tmp_path / "labels", shape(), imagePath="D:\\a.png")
    with pytest.raises(DataError, match=r"a.json: several images have this name: \['x/a.png'"):
        labelme(images, tmp_path / "labels")
    write(tmp_path / "labels", shape(), imagePath="D:\\b.jpg")
    (images / "b.jpg").replace(images / "x" / "b.jpg")  # there is only one
    assert "x/b.jpg" in labelme(images, tmp_path / "labels").file_names
    write(tmp_path / "labels", shape(), imagePath="D:\\B.JPG")  # the same on Windows
    assert "x/b.jpg" in labelme(images, tmp_path / "labels").file_names
    (images / "y" / "B.JPG").write_bytes((images / "x" / "b.jpg").read_bytes())
    assert "y/B.JPG" in labelme(images, tmp_path / "labels").file_names


def test_no_image_outside_of_the_folder_is_taken(images, tmp_path):
    (images / "a.png").replace(tmp_path / "a.png")
    for image_path in ("../a.png", str(tmp_path / "a.png"), "..\\a.png"):
        write(images, shape(), imagePath=image_path)
        with pytest.raises(DataError, match="images/a.png: image file does not exist"):
            labelme(images, images)


def test_rectangles_may_have_four_corners_and_be_turned(images, masks_of, box):
    turned = [[10, 2], [18, 10], [10, 18], [2, 10]]
    for kind in ("rectangle", "oriented_rectangle", "rotation", "quadrilateral"):
        write(images, shape("x", kind), shape("x", kind, turned))
        masks = masks_of(labelme(images, images))
        np.testing.assert_array_equal(masks[0], box(4, 5, 14, 11))
        assert abs(int(masks[1].sum()) - 128) <= 8  # of a square of side 8 sqrt(2)
        assert masks[1][10, 10] and not masks[1][3, 3]


def test_what_is_not_read_is_counted(images):
    kinds = ("point", "points", "line", "linestrip", "cuboid", "brush")
    few = [shape("x", "rectangle", [[1, 2]]), shape("x", "circle", [[1, 2]]), shape("x", None, [])]
    write(images, shape(7), *(shape("x", kind) for kind in kinds), *few)
    dataset = labelme(images, images)
    assert dataset.class_names == ("7",)  # a number as a name
    assert dataset.dropped == {
        "shape without an area: point, points, line or linestrip": 4,
        "shape of a kind that is not read: 'cuboid'": 1,
        "shape of a kind that is not read: 'brush'": 1,
        "shape with fewer points than its kind needs": 2,
        "annotation without a polygon of at least 3 points": 1,
    }


def test_an_embedded_image_is_not_used_and_missing_sizes_are_read(images):
    write(images, shape(), imageData="no image", imageHeight=None, imageWidth=None)
    assert labelme(images, images).sizes == ((20, 30),)


def test_points_and_lines_are_counted(images):
    write(images, shape(), shape(kind="point", points=[[1, 1]]), shape(kind="linestrip"))
    dataset = labelme(images, images)
    ((reason, count),) = dataset.dropped.items()
    assert reason.startswith("shape without an area") and count == 2
    assert dataset.examples[reason][0].endswith("a.json: shape 1")


def test_a_size_that_is_not_the_images_is_refused(images):
    write(images, shape(), imageHeight=30, imageWidth=20)
    with pytest.raises(DataError, match="a.png: the json says width=20, height=30"):
        labelme(images, images)
