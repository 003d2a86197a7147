"""data/formats/from_csv.py: files with and without a header, and what is refused."""

import json

import numpy as np
import pytest

from keras_maskrcnn import cli
from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.coco import coco_json
from keras_maskrcnn.data.coco_checks import NO_AREA
from keras_maskrcnn.data.formats import csv_boxes

PLAIN = "a.png,4,5,14,11,dog\nb.jpg,,,,,\na.png,0,0,30.5,20,cat\n"


def write(folder, text, encoding="utf-8"):
    (folder / "a.csv").write_bytes(text.encode(encoding))
    return folder / "a.csv"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "image,x1,y1,x2,y2,class\n" + PLAIN,
        "# boxes\r\n\r\n" + PLAIN.replace("\n", "\r\n"),
        "class,score,Filename,XMin,YMin,XMax,YMax\ndog,.5,a.png,4,5,14,11\n"
        ",,b.jpg,,,,\ncat,1,a.png,0,0,30.5,20\n",
    ],
)
def test_rows_are_boxes_with_and_without_a_header(images, tmp_path, text):
    dataset = csv_boxes(images, write(tmp_path, text))
    assert dataset.file_names == ("a.png", "b.jpg")
    assert (dataset.class_names, dataset.category_ids) == (("cat", "dog"), (1, 2))
    assert (dataset.labels.tolist(), dataset.num_instances.tolist()) == ([2, 1], [2, 0])
    np.testing.assert_array_equal(dataset.boxes, [[4, 5, 14, 11], [0, 0, 30, 20]])
    assert (dataset.has_masks, dataset.dropped) == (False, {})
    assert set(dataset.load(0)) == {"image", "boxes", "labels"}


def test_windows_files_and_paths_of_other_machines_are_read(images, tmp_path):
    (images / "sub").mkdir()
    (images / "a.png").rename(images / "sub" / "a.png")
    rows = f"sub\\a.png,4,5,14,11,Ä\nC:\\pics\\b.jpg,,,,,\n{images}/sub/a.png,1,2,3,4,Ä\n"
    for encoding in ("utf-16", "cp1252", "utf-8-sig"):
        dataset = csv_boxes(images, write(tmp_path, rows, encoding))
        assert dataset.file_names == ("b.jpg", "sub/a.png")
        assert (dataset.class_names, dataset.labels.tolist()) == (("Ä",), [1, 1])


def test_boxes_without_an_area_and_unreadable_images_are_counted(images, tmp_path):
    rows = "a.png,4,5,14,11,dog\na.png,4,5,4,11,dog\nno.png,1,1,5,5,dog\nno.png,1,1,5,5,dog\n"
    with pytest.raises(DataError, match="no.png: image file does not exist"):
        csv_boxes(images, write(tmp_path, rows))
    dataset = csv_boxes(images, write(tmp_path, rows), on_error="skip")
    assert (len(dataset), dataset.skipped) == (1, {"no.png": 1})
    assert dataset.dropped[NO_AREA] == 1
    assert dataset.examples[NO_AREA] == [f"{tmp_path / 'a.csv'}: line 2"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.png,4,5,14,11\n", "line 1: a row must have 6 fields, image,x1,y1,x2,y2,class"),
        (PLAIN + "a.png,4,5,x,11,dog\n", r"line 4: x1, y1, x2, y2 must be .* Received: \['4', '5'"),
        ("a.png,4,5,nan,11,dog\n", "line 1: x1, y1, x2, y2 must be pixels"),
        ("a.png,14,5,4,11,dog\n", "line 1: x1, .* x2 at least x1"),
        ("a.png,4,5,14,11,\n", "line 1: class must be a name or an id. Received: class=''"),
        ("a.png,4,5,,11,dog\n", "line 1: x1, y1, x2, y2 must be pixels"),
        (",4,5,14,11,dog\n", "line 1: image must be a path. Received: image=''"),
        ("../a.png,4,5,14,11,dog\n", "file_name must lie inside the folder of images"),
        ("image,x1,y1,x2,y2\na.png,1,1,2,2\n", "have the columns .* class is missing. Received"),
        ("a.png,.1,.2,.3,.4,dog\n", "a.csv: boxes must be in pixels, and not shares"),
        ('a.png,"4', "a.csv: cannot be read as CSV"),
        ("", "a.csv: no annotated image"),
        ("a.png,4,5,14,11,cow\n", "line 1: unknown class, not one of .* Received: class='cow'"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(images, tmp_path, text, line):
    names = ["dog"] if "cow" in text else None
    with pytest.raises(DataError, match=line):
        csv_boxes(images, write(tmp_path, text), class_names=names)


def test_the_command_converts_it_to_a_json_of_boxes(images, tmp_path, capsys):
    flags = ["--format=csv_boxes", f"--images={images}", f"--annotations={write(tmp_path, PLAIN)}"]
    output = tmp_path / "a.json"
    assert cli.run(["convert", *flags, f"--output={output}", "--class_names=cat,dog"]) == 0
    assert "2 instances, 2 classes; boxes without masks." in capsys.readouterr().out
    assert "segmentation" not in json.loads(output.read_text())["annotations"][0]
    again, dataset = coco_json(images, output, masks=None), csv_boxes(images, tmp_path / "a.csv")
    assert again.file_names == dataset.file_names
    np.testing.assert_array_equal(again.boxes, dataset.boxes)
    np.testing.assert_array_equal(again.labels, dataset.labels)
