import json
import os
import sys

import numpy as np
import pytest
from drawn_objects import DeepFinder, Finder, deep, draw, ious, scattered
from PIL import Image

from keras_maskrcnn import cli
from keras_maskrcnn.instance_masks import InstanceMasks

TRUTH = scattered((400, 500), 40, 8, 60)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    Image.fromarray(draw((400, 500), TRUTH)).save(tmp_path / "images" / "a.png")
    Image.fromarray(draw((300, 300), TRUTH[:0])).save(tmp_path / "images" / "sub" / "b.tif")
    return tmp_path / "images"


@pytest.fixture
def finder(monkeypatch):
    """Replaces the model of every --model by one that finds what was drawn."""
    model = Finder()
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: model)
    return model


def run(images, output, *flags):
    argv = ["--model=m.keras", f"--input={images}", f"--output={output}", "--tile=128", *flags]
    return cli.run(["predict", *argv])


def found_in(output):
    """Returns the masks of a.png as (crop, origin), and asserts that there are no others."""
    results = json.loads((output / "predictions.json").read_text())
    assert {result["file_name"] for result in results} == {"a.png"}
    from pycocotools import mask as coco_mask

    whole = coco_mask.decode([result["segmentation"] for result in results])
    return InstanceMasks.of(whole.transpose(2, 0, 1))


def once(output):
    return (ious(found_in(output), TRUTH) > 0.9).sum(0).tolist() == [1] * len(TRUTH)


def test_a_folder_is_predicted_tile_by_tile(images, finder, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(images, output, "--overlap=40") == 0
    assert once(output)
    assert sorted(os.listdir(output)) == ["a.png", "predictions.json", "sub"]
    assert os.listdir(output / "sub") == ["b.png"]
    picture = np.asarray(Image.open(output / "a.png"))
    assert picture.shape[1] >= 500 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    printed = capsys.readouterr().out
    assert "tiles, 0:0" in printed and "40 objects in 2 images; pictures in" in printed
    assert finder.seen == 5 * 6 + 3 * 3


def test_tiles_have_1024_pixels(images, finder, tmp_path):
    Image.new("RGB", (1024, 1500)).save(images / "sub" / "a.png")
    argv = ["--model=m.keras", f"--input={images / 'sub' / 'a.png'}", "--tiles", "--quiet"]
    assert cli.run(["predict", *argv, f"--output={tmp_path / 'out'}"]) == 0
    assert finder.seen == 2


def test_formats_and_a_viewer(images, finder, tmp_path):
    output = tmp_path / "out"
    assert run(images / "a.png", output, "--format=csv,coco_json", "--viewer", "--quiet") == 0
    assert sorted(os.listdir(output)) == [
        "a.png",
        "a_viewer",
        "coco.json",
        "measurements.csv",
    ]
    content = json.loads((output / "coco.json").read_text())
    assert len(content["annotations"]) == 40
    assert (output / "a_viewer" / "index.html").is_file()


def test_a_broken_part_is_gray_and_the_rest_is_predicted(images, finder, tmp_path, capsys):
    tifffile = pytest.importorskip("tifffile")
    path, output = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, draw((400, 500), TRUTH), tile=(128, 128), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(length))
    assert run(path, output, "--overlap=40", "--viewer", "--on_error=skip") == 0
    assert "4 tiles could not be read and are not in the results" in capsys.readouterr().out
    assert len(json.loads((output / "predictions.json").read_text())) > len(TRUTH) / 2
    assert np.asarray(Image.open(output / "a.png"))[5, 5].tolist() == [128] * 3
    assert (output / "a_viewer" / "index.html").is_file()


def test_a_stopped_run_resumes(images, finder, tmp_path, monkeypatch, capsys):
    output, stopping = tmp_path / "out", Finder(fail_after=20)
    with monkeypatch.context() as patch:
        patch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: stopping)
        assert run(images, output, "--overlap=40") == 130
    assert run(images, output, "--overlap=40") == 1  # without --resume
    assert "a stopped run left finished tiles; pass --resume" in capsys.readouterr().err
    assert run(images, output, "--overlap=41", "--resume") == 1
    assert "holds the tiles of another run" in capsys.readouterr().err
    assert run(images, output, "--overlap=40", "--resume") == 0
    assert finder.seen == 5 * 6 - 20 + 3 * 3 and once(output)
    assert not (output / "unfinished-tiles").exists()


def test_an_image_smaller_than_a_tile_is_one_tile_in_a_folder_and_refused_alone(
    images, finder, tmp_path, capsys
):
    Image.new("RGB", (100, 120)).save(images / "small.png")
    output = tmp_path / "out"
    assert run(images, output, "--overlap=40") == 0 and once(output)
    assert (output / "small.png").is_file() and finder.seen == 5 * 6 + 3 * 3 + 1
    assert run(images / "small.png", tmp_path / "alone") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "small.png: tile must not be larger than the image" in error


@pytest.mark.parametrize(
    "flag",
    ["--overlap=0", "--seams=own", "--scale=0.5", "--microns_per_pixel=1", "--viewer", "--resume"],
)
def test_flags_of_tiles_need_a_tile(images, finder, tmp_path, capsys, flag):
    argv = ["predict", "--model=m.keras", f"--input={images}", f"--output={tmp_path / 'o'}", flag]
    assert cli.run(argv) == 1
    assert f"{flag.split('=')[0]} needs --tile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--overlap=0"], "overlap must be at least 1 and less than tile"),
        (["--overlap=128"], "overlap must be at least 1 and less than tile"),
        (["--microns_per_pixel=1"], "does not tell its microns per pixel"),
        (["--format=pdf"], "format must be one of coco_json"),
    ],
)
def test_bad_values_are_one_line(images, finder, tmp_path, capsys, flags, line):
    assert run(images / "a.png", tmp_path / "out", *flags) == 1
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    # With better values the same command works, without --overwrite.
    assert run(images / "a.png", tmp_path / "out") == 0


def test_the_folder_of_the_images_is_refused(images, finder, capsys):
    assert run(images, images) == 1
    assert "pictures would replace images" in capsys.readouterr().err


def test_a_wrong_value_leaves_no_folder_that_fills_the_output(images, finder, tmp_path):
    formats = "--format=geojson,labelme,yolo_seg,png_labels,csv"
    assert run(images / "a.png", tmp_path / "out", formats, "--overlap=0") == 1
    assert not os.listdir(tmp_path / "out")


def test_a_truncated_tiff_is_one_line(finder, tmp_path, capsys):
    path = tmp_path / "a.tif"
    Image.fromarray(draw((400, 500), TRUTH)).save(path, compression="tiff_deflate")
    path.write_bytes(path.read_bytes()[:1500])
    assert run(path, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "a.tif" in error and error.count("\n") == 1


def test_masks_that_overlap_are_dropped_on_request(images, tmp_path, monkeypatch):
    model = Finder(slots=200)

    def twice(pixels):
        outputs = Finder.predict_on_batch(model, pixels)
        count = int(outputs["num_detections"][0])
        for name in ("boxes", "scores", "labels", "masks"):
            outputs[name][0, count : 2 * count] = outputs[name][0, :count]
        outputs["labels"][0, count : 2 * count] = 2
        outputs["num_detections"] *= 2
        return outputs

    monkeypatch.setattr(model, "predict_on_batch", twice, raising=False)
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: model)
    assert run(images / "a.png", tmp_path / "both", "--overlap=40") == 0
    assert len(json.loads((tmp_path / "both" / "predictions.json").read_text())) > 70
    assert run(images / "a.png", tmp_path / "out", "--overlap=40", "--max_mask_overlap=0.5") == 0
    assert once(tmp_path / "out")


def test_zarr_folders_are_images(finder, tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(tmp_path / "a.zarr"), draw((400, 500), TRUTH))
    assert run(tmp_path / "a.zarr", tmp_path / "out", "--overlap=40") == 0
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(results) == len(TRUTH) and results[0]["file_name"] == "a.zarr"
    assert "zarr" in sys.modules


def test_evaluate_scores_images_that_only_tiles_can_read(finder, tmp_path):
    images, output = tmp_path / "images", tmp_path / "metrics.json"
    images.mkdir()
    np.save(images / "a.npy", draw((400, 500), TRUTH))
    masks = InstanceMasks([region for region, _ in TRUTH], [at for _, at in TRUTH], (400, 500))
    annotations = [
        {
            **{"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": region.size},
            "bbox": [x, y, region.shape[1], region.shape[0]],
            "segmentation": masks.rle(i),
        }
        for i, (region, (y, x)) in enumerate(masks.crops())
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.npy", "height": 400, "width": 500}],
        "annotations": annotations,
        "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    flags = [f"--images={images}", f"--annotations={tmp_path / 'a.json'}", f"--output={output}"]
    argv = ["evaluate", "--model=m.keras", *flags, "--overlap=40", "--quiet"]
    assert cli.run([*argv, "--tile=128"]) == 0
    assert json.loads(output.read_text())["segm/AP"] == 1
    assert cli.run(argv) == 1


def test_a_format_that_knows_images_by_their_stem_refuses_two_of_one_before_any_work(
    images, finder, tmp_path, capsys
):
    Image.new("RGB", (200, 200)).save(images / "a.jpg")
    assert run(images, tmp_path / "out", "--format=yolo_seg") == 1
    assert "yolo_seg: two images must not have the same name without its suffix" in (
        capsys.readouterr().err
    )
    assert finder.seen == 0 and run(images, tmp_path / "out", "--format=labelme") == 0


def test_a_folder_of_images_with_the_name_of_a_format_is_refused(images, finder, tmp_path, capsys):
    (images / "sub").rename(images / "labelme")
    assert run(images, tmp_path / "out", "--format=rle,labelme") == 1
    assert "the folder labelme of --input has the name of a format's output" in (
        capsys.readouterr().err
    )
    assert finder.seen == 0 and run(images, tmp_path / "out", "--format=rle") == 0


def test_bands_and_bits_of_the_model_are_read_and_pictures_choose_theirs(
    images, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: DeepFinder())
    image = deep(draw((400, 500), TRUTH))
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "a.npy", image)
    plain, chosen = tmp_path / "plain", tmp_path / "chosen"
    flags = ("--overlap=40", "--quiet", "--viewer")
    assert run(tmp_path / "deep", plain, *flags) == 0
    assert run(tmp_path / "deep", chosen, *flags, "--bands=4", "--stretch=values,0,50") == 0
    found = json.loads((plain / "predictions.json").read_text())
    assert len(found) == len(TRUTH) and found == json.loads(
        (chosen / "predictions.json").read_text()
    )
    shown = np.asarray(Image.open(chosen / "a.png").convert("RGB"))[:400, :500]
    for region, (y, x) in TRUTH[:20]:  # objects of band 4 are gray of their number; see the middle
        center = y + region.shape[0] // 2, x + region.shape[1] // 2
        value = round(min(255, image[center][3] * 255 / 50))
        assert shown[center].tolist() == [value] * 3
    tile = np.asarray(Image.open(chosen / "a_viewer" / "image_files" / "9" / "0_0.jpg"))
    assert np.ptp(tile.astype(int), axis=2).max() <= 8  # gray, but for JPEG
    tile = np.asarray(Image.open(plain / "a_viewer" / "image_files" / "9" / "0_0.jpg"))
    assert np.ptp(tile.astype(int), axis=2).max() > 100  # noise in green and blue
    assert run(images / "a.png", tmp_path / "other", "--quiet") == 1
    assert "a.png: an image must have 5 bands" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--bands=6", "bands must be one to three numbers from 1 to 5"),
        ("--bands=red", "bands must be one to three numbers from 1 to 32"),
        ("--stretch=98,2", "stretch must be "),
        ("--stretch=auto", "stretch must be "),
    ],
)
def test_bands_that_the_model_lacks_are_refused_before_any_work(
    flag, line, images, monkeypatch, tmp_path, capsys
):
    model = DeepFinder()
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: model)
    assert run(images, tmp_path / "out", flag) == 1
    assert line in capsys.readouterr().err and not model.seen
