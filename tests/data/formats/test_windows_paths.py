"""Every reader reads the encodings, separators and suffixes of tools on Windows."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import doctor
from keras_maskrcnn.data import DataError, coco_json
from keras_maskrcnn.data.formats import READERS

SQUARE = [4, 5, 14, 5, 14, 11, 4, 11]
XML = "<annotation><object><name>{}</name></object></annotation>"
ROW = " ".join(str(v / side) for v, side in zip(SQUARE, [30, 20] * 4, strict=True))


def coco(file_name, name="Ä"):
    return {
        "images": [{"id": 1, "file_name": file_name, "height": 20, "width": 30}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [4, 5, 10, 6],
                "area": 60,
                "iscrowd": 0,
                "segmentation": [SQUARE],
            }
        ],
        "categories": [{"id": 1, "name": name}],
    }


def via(file_name, name="Ä"):
    xs, ys = SQUARE[::2], SQUARE[1::2]
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    region = {"shape_attributes": shape, "region_attributes": {"kind": name}}
    return {file_name: {"filename": file_name, "regions": [region]}}


def labelme(file_name, name="Ä"):
    points = np.reshape(SQUARE, (-1, 2)).tolist()
    return {"imagePath": file_name, "shapes": [{"label": name, "points": points}]}


@pytest.fixture
def sub(images):
    """The folder of images, with a.png in a subfolder."""
    (images / "sub").mkdir()
    (images / "a.png").replace(images / "sub" / "a.png")
    (images / "b.jpg").unlink()
    return images


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((text if isinstance(text, str) else dumps(text)).encode(encoding))
    return path


def dumps(content):
    return json.dumps(content, ensure_ascii=False)


def mask(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    index = np.zeros((20, 30), np.uint8)
    index[5:11, 4:14] = 1
    Image.fromarray(index).save(folder / name, "PNG")


def read_set(format_name, images, folder, encoding="utf-8", separator="\\"):
    """Writes one square of class Ä in sub/a.png like a tool on Windows, and reads it."""
    name, options = f"sub{separator}a.png", {}
    if format_name == "coco_json":
        folder = write(folder, "a.json", coco(name), encoding)
    elif format_name == "via_json":
        folder, options = write(folder, "a.json", via(name), encoding), {"class_attribute": "kind"}
    elif format_name == "labelme":
        write(folder, "a.json", labelme(name), encoding)
    elif format_name == "voc":
        mask(folder, "SegmentationObject/sub/a.PNG")
        write(folder, "Annotations/sub/a.XML", XML.format("Ä"), encoding)
        lines = f"# the images\r\nsub{separator}a  \r\n\r\n"
        write(folder, "ImageSets/Segmentation/train.txt", lines, encoding)
        options = {"split": "train", "class_names": ["Ä"]}
    else:
        write(folder, "sub/a.TXT", f"# class and points\r\n0 {ROW}  \r\n\r\n", encoding)
        options = {"class_names": write(folder, "names.txt", "# names\r\nÄ \r\n", encoding)}
    return READERS[format_name](images, folder, **options)


FORMATS = ["coco_json", "via_json", "labelme", "voc", "yolo_seg"]


def test_every_format_with_text_is_read_here():
    others = {"mask_images", "csv_boxes"}  # boxes: test_from_csv.py
    # These are UTF-8, with forward slashes, on all systems.
    others |= {"cvat", "label_studio", "panoptic", "cityscapes", "supervisely", "open_images"}
    assert set(FORMATS) == set(READERS) - others


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_every_reader_takes_windows_files(sub, tmp_path, masks_of, box, format_name, encoding):
    dataset = read_set(format_name, sub, tmp_path / "labels", encoding)
    assert dataset.class_names == ("Ä",)
    assert dataset.file_names == ("sub/a.png",)
    np.testing.assert_array_equal(masks_of(dataset), [box(4, 5, 14, 11)])
    assert dataset.load_image(0).shape == (20, 30, 3)
    again = coco_json(sub, write(tmp_path, "again.json", dataset.content()))
    np.testing.assert_array_equal(again.boxes, dataset.boxes)


@pytest.mark.parametrize("make", [coco, via])
def test_a_path_that_leads_out_is_refused_with_either_separator(images, tmp_path, make):
    reader = READERS["coco_json" if make is coco else "via_json"]
    for name in ("..\\a.png", "sub\\..\\..\\a.png", "\\a.png", "../a.png"):
        path = write(tmp_path, "a.json", make(name))
        with pytest.raises(DataError, match="must lie inside the folder of images"):
            reader(images, path)


@pytest.mark.parametrize(
    "name", ["C:\\pics\\a.png", "d:/a.png", "/home/me/a.png", "\\\\nas\\x\\a.png"]
)
def test_of_a_path_of_another_machine_the_name_counts_in_via(images, tmp_path, name):
    path = write(tmp_path, "a.json", via(name))
    assert READERS["via_json"](images, path).file_names == ("a.png",)
    path = write(tmp_path, "a.json", {**via(name), **via("a.png")})
    with pytest.raises(DataError, match="the image occurs twice"):
        READERS["via_json"](images, path)


def test_the_doctor_finds_the_images_too(sub, tmp_path):
    content = coco("sub\\a.png")
    content["annotations"][0]["bbox"] = [4, 5, 3, 3]  # which is shown
    path = write(tmp_path, "a.json", content, "utf-16")
    found, report = doctor.examine(sub, path)
    assert report["severities"]["error"] == 0
    assert "data:image/png" in doctor.page(report, found)


@pytest.mark.parametrize("format_name", ["yolo_seg", "labelme", "voc", "mask_images"])
def test_files_that_macos_adds_are_no_annotations(images, tmp_path, format_name):
    folder = tmp_path / "labels"
    for name in ("._a.txt", "._a.json", "SegmentationObject/._a.png", "._a.png"):
        write(folder, name, "\0\5\x16\7")
    for name in ("a.png", "SegmentationObject/a.png"):
        mask(folder, name)
    write(folder, "a.txt", f"0 {ROW}")
    write(folder, "Annotations/a.xml", XML.format("dog"))
    write(folder, "a.json", labelme("a.png"))
    assert READERS[format_name](images, folder).num_instances.sum() == 1


def test_an_empty_label_file_is_an_image_without_instances(images, tmp_path):
    write(tmp_path, "labels/a.txt", "")
    write(tmp_path, "labels/b.txt", f"0 {ROW}")
    assert READERS["yolo_seg"](images, tmp_path / "labels").num_instances.tolist() == [0, 1]
