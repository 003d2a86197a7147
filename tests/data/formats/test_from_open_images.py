"""data/formats/from_open_images.py, on files in the layout of Open Images V7."""

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import cli
from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import from_open_images, open_images

MASKS = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"
BOXES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)
ROW = "a_m1.png,a,/m/01,b1,0.2,0.5,0.25,0.5,0.9,0.3 0.3 1\n"
CROWD = "a,xclick,/m/02,1,0.1,0.9,0.1,0.9,0,0,1,0,0\n"


@pytest.fixture
def masks(tmp_path, box):
    """A folder with the mask of (6, 5) to (15, 10) in a.png at twice its size, in a subfolder."""
    (tmp_path / "masks" / "a").mkdir(parents=True)
    large = Image.fromarray(box(6, 5, 15, 10) * 255).resize((60, 40), Image.Resampling.NEAREST)
    large.convert("1").save(tmp_path / "masks" / "a" / "a_m1.png")
    return tmp_path / "masks"


def write(folder, text, name="rows.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_masks_have_the_size_of_their_images_and_other_images_are_counted(
    images, masks, masks_of, box
):
    path = write(masks, MASKS + ROW + ROW.replace(",a,", ",elsewhere,") * 2)
    names = write(masks, "LabelName,DisplayName\n/m/01,Tortoise\n/m/02,Ant\n", "names.csv")
    dataset = open_images(images, path, class_descriptions=names)
    np.testing.assert_array_equal(masks_of(dataset), [box(6, 5, 15, 10)])
    assert dataset.class_names == ("Tortoise",) and dataset.file_names == ("a.png",)
    assert dataset.dropped == {from_open_images.NO_IMAGE: 1, from_open_images.NO_ROW: 1}
    assert open_images(images, path).class_names == ("/m/01",)
    boxes = open_images(images, path, masks=False)
    np.testing.assert_allclose(boxes.boxes, [[6, 5, 15, 10]])


def test_boxes_are_shares_and_groups_are_crowds(images, tmp_path, capsys):
    path = write(tmp_path, BOXES + CROWD + CROWD.replace("0,0,1,0", "0,0,0,0"))
    dataset = open_images(images, path, masks=None, crowds="ignore")
    np.testing.assert_allclose(dataset.boxes, [[3, 2, 27, 18]])
    assert not dataset.has_masks and dataset.content()["annotations"][0]["iscrowd"] == 1
    flags = [f"--images={images}", f"--annotations={path}", f"--output={tmp_path / 'a.json'}"]
    assert cli.run(["convert", "--format=open_images", *flags]) == 0
    assert "1 images, 1 instances, 1 classes; boxes without masks" in capsys.readouterr().out
    with pytest.raises(DataError, match="no instance .*2 dropped: box without a mask"):
        open_images(images, path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b\n", "rows.csv: a CSV file of Open Images has the columns ImageID, .*columns="),
        (MASKS + "a_m1.png,a\n", "line 2: a row must have 10 fields, as the header"),
        (MASKS + ROW.replace("a_m1", "gone"), "line 2: MaskPath must be .*MaskPath='gone.png'"),
        (BOXES + CROWD.replace("0.9", "9"), "line 2: XMin, YMin, XMax, YMax must be shares"),
        (BOXES + CROWD.replace("0.1", "nan"), "line 2: x1, y1, x2, y2 must be"),
        (MASKS + ROW.replace(",a,", ",z,"), "no row is about an image of the folder. Received:"),
        (MASKS + '"', "rows.csv: cannot be read as CSV"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(images, masks, text, line):
    with pytest.raises(DataError, match=line) as caught:
        open_images(images, write(masks, text), masks=None)
    assert "\n" not in str(caught.value)


def test_descriptions_have_two_columns(images, masks):
    names = write(masks, "/m/01\n", "names.csv")
    with pytest.raises(DataError, match="names.csv: row 1 must be LabelName,DisplayName"):
        open_images(images, write(masks, MASKS + ROW), class_descriptions=names)
    with pytest.raises(DataError, match="gone.csv: cannot be read as CSV"):
        open_images(images, write(masks, MASKS + ROW), class_descriptions=masks / "gone.csv")
