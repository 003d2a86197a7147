"""data/formats/from_label_studio.py, on tasks in the layout of Label Studio's export."""

import json

import numpy as np
import pytest

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import from_label_studio, label_studio
from keras_maskrcnn.writers.to_label_studio import brush_counts

SQUARE = [[4, 5], [14, 5], [14, 11], [4, 11]]
PERCENT = (np.array(SQUARE) * [100 / 30, 100 / 20]).tolist()
X, Y = PERCENT[0]
W, H = PERCENT[2][0] - X, PERCENT[2][1] - Y
BOX = {"x": X, "y": Y, "width": W, "height": H, "rotation": 0}


def region(kind, label="cell", size=(20, 30), **value):
    return {
        "id": "b1XzT",
        "type": f"{kind}labels",
        "from_name": "label",
        "to_name": "image",
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [label]},
    }


def task(*regions, image="/data/upload/1/1f3a9c2e-a.png", **more):
    annotation = {"id": 1, "was_cancelled": False, "ground_truth": False, "result": list(regions)}
    return {"id": 3, "data": {"image": image}, "annotations": [annotation], **more}


def write(folder, *tasks):
    (folder / "export.json").write_text(json.dumps(tasks))
    return folder / "export.json"


def brush(mask):
    return region("brush", format="rle", rle=brush_counts(mask > 0, (0, 0), *mask.shape))


def test_all_kinds_of_regions_are_read(images, tmp_path, masks_of, box):
    square = box(4, 5, 14, 11)
    path = write(
        tmp_path,
        task(
            region("polygon", points=PERCENT, closed=True),
            region("rectangle", **BOX),
            brush(square),
            region("ellipse", x=50, y=50, radiusX=30, radiusY=15, rotation=90),
            region("keypoint", x=1, y=2),
        ),
    )
    dataset = label_studio(images, path)
    *squares, ellipse = masks_of(dataset)
    np.testing.assert_array_equal(squares, [square] * 3)
    # 9 pixels of radius along x and 3 along y, turned by 90 degrees.
    assert np.ptp(np.argwhere(ellipse), axis=0).tolist() == [17, 5]
    assert dataset.class_names == ("cell",) and dataset.orientation == "apply"
    assert dataset.dropped == {from_label_studio.NO_AREA: 1}


def test_rectangles_are_rotated_around_their_upper_left_corner(images, tmp_path, masks_of, box):
    path = write(tmp_path, task(region("rectangle", **{**BOX, "rotation": 90})))
    turned = {"x": 40, "y": 20, "width": W, "height": H, "rotation": 90}
    np.testing.assert_array_equal(masks_of(label_studio(images, path)), [box(0, 5, 4, 15)])
    path = write(tmp_path, task(region("rectangle", **turned)))
    np.testing.assert_array_equal(masks_of(label_studio(images, path)), [box(6, 4, 12, 14)])


def test_a_region_with_several_labels_has_one_class_and_the_others_are_counted(images, tmp_path):
    one = region("polygon", points=PERCENT)
    one["value"]["polygonlabels"] = ["cell", "dividing", "cell"]
    path = write(tmp_path, task(one))
    dataset = label_studio(images, path)
    assert dataset.class_names == ("cell",) and len(dataset.labels) == 1
    assert dataset.dropped == {from_label_studio.OTHER_LABEL: 1}
    assert "task 3: region 0: 'dividing'" in dataset.report()
    dataset = label_studio(images, path, class_names=["dividing"])
    assert dataset.labels.tolist() == [1] and "region 0: 'cell'" in dataset.report()
    with pytest.raises(DataError, match="region 0: unknown class, .*Received: class='cell'"):
        label_studio(images, path, class_names=["nucleus"])


@pytest.mark.parametrize("seed", range(3))
def test_brushes_are_exact_in_every_form(seed):
    mask = np.random.default_rng(seed).random((20, 30)) < [0.02, 0.5, 0.98][seed]
    counts = brush_counts(mask, (0, 0), 20, 30)
    np.testing.assert_array_equal(from_label_studio.decode_brush(counts, (20, 30), ""), mask)
    # Runs of values one by one, as the library writes them where values change often.
    values, bits = np.repeat(mask.ravel(), 4) * 255, f"{2400:032b}" + "00111"
    bits += "0010" + "0011" + "0111" + "1111"  # lengths of 3, 4, 8 and 16 bits
    for start in range(0, 2400, 7):
        part = values[start : start + 7]
        bits += "000" + f"{len(part) - 1:03b}" + "".join(f"{value:08b}" for value in part)
    data = np.packbits(np.array(list(bits), int)).tolist()
    np.testing.assert_array_equal(from_label_studio.decode_brush(data, (20, 30), ""), mask)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/1f3a9c2e-a.png", "a.png"),
        ("/data/local-files/?d=images/a.png", "a.png"),
        ("s3://bucket/some/a.png", "a.png"),
        ("https://host/x/a.png?sig=1", "a.png"),
        ("/data/local-files/?d=deep%2Fb%20c.png", "deep/b c.png"),
        ("C:\\Users\\me\\a.png", "a.png"),
    ],
)
def test_images_are_found_by_the_end_of_their_address(images, tmp_path, address, name):
    (images / "deep").mkdir()
    (images / "deep" / "b c.png").write_bytes((images / "a.png").read_bytes())
    path = write(tmp_path, task(region("rectangle", **BOX), image=address))
    assert label_studio(images, path).file_names == (name,)


def test_one_annotation_of_a_task_counts(images, tmp_path, masks_of, box):
    def annotation(x, **more):
        return {"result": [region("rectangle", **{**BOX, "x": x})], **more}

    first, cancelled = annotation(0), annotation(50, was_cancelled=True)
    truth, newest = annotation(X, ground_truth=True), annotation(10)
    entry = {"id": 1, "data": {"image": "a.png"}}
    none = {"id": 2, "data": {"image": "b.jpg"}, "annotations": [cancelled], "predictions": [first]}
    path = write(tmp_path, {**entry, "annotations": [first, truth, newest, cancelled]}, none)
    dataset = label_studio(images, path)
    np.testing.assert_array_equal(masks_of(dataset), [box(4, 5, 14, 11)])
    left_out = {from_label_studio.OTHER_ANNOTATION: 2, from_label_studio.NOT_ANNOTATED: 1}
    assert dataset.dropped == left_out
    path = write(tmp_path, {**entry, "annotations": [first, newest]}, none)
    np.testing.assert_array_equal(masks_of(label_studio(images, path)), [box(3, 5, 13, 11)])
    predicted = label_studio(images, path, predictions=True)
    assert predicted.file_names == ("b.jpg",)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"tasks": []}, "format JSON is a list of tasks"),
        ([{"image": "a.png", "label": []}], "format JSON is a list of tasks"),  # JSON-MIN
        ([task(image="")], "task 3: data must have the address of the image"),
        ([task(image="/data/upload/..")], "upload: image file does not exist"),
        ([task(region("polygon", points=[[1]]))], "region 0: 1 must be a number"),
        (
            [task(region("polygon", points=3))],
            "points must be a list of .x, y.. .* points=3",
        ),
        ([task(region("rectangle", **{**BOX, "x": "1"}))], "region 0: x must be a number"),
        (
            [task(region("brush", format="rle", rle=[1, 2]))],
            "rle must be the bytes .* 2 bytes",
        ),
        ([task(region("brush", format="rle", rle=[300]))], "rle must be the bytes of a brush"),
        ([task(region("brush", format="png", rle=[]))], "a brush must have the format rle"),
        ([task(region("rectangle", size=(21, 30), **BOX))], "a.png: the json says width=30, heig"),
        ([task({**region("rectangle", **BOX), "image_rotation": 90})], "image that is not rotated"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(images, tmp_path, content, line):
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=line):
        label_studio(images, tmp_path / "export.json")


def test_a_brush_cannot_promise_more_than_the_image_has():
    for mask, size in ((np.ones((4, 5), bool), (4, 4)), (np.ones((4, 4), bool), (4, 5))):
        with pytest.raises(DataError, match="values, but the image has"):
            from_label_studio.decode_brush(brush_counts(mask, (0, 0), *mask.shape), size, "a")
    cut = brush_counts(np.eye(9, dtype=bool), (0, 0), 9, 9)[:-6]
    with pytest.raises(DataError, match="only .* bytes|longer than the image or the data"):
        from_label_studio.decode_brush(cut, (9, 9), "a")
