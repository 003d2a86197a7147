"""All commands on a data set of five bands of 12 bits in 16, whose files are .npy and TIFF."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from eager import eager_steps
from PIL import Image
from tiny_runs import TINY, data_flags

from keras_maskrcnn import cli, data

PIXELS = ["--in_channels=5", "--image_dtype=uint16", "--pixel_max=4095"]


@pytest.fixture(scope="module")
def bands(shapes, tmp_path_factory):
    """The shapes in bands 5, 4 and 2; the others are dark. Half of the files are TIFFs."""
    folder = tmp_path_factory.mktemp("bands")
    shutil.copytree(shapes / "annotations", folder / "annotations")
    for part in ("train", "val"):
        (folder / part).mkdir()
        path = folder / "annotations" / f"{part}.json"
        content = json.loads(path.read_text())
        for i, entry in enumerate(content["images"]):
            rgb = np.asarray(Image.open(shapes / part / entry["file_name"]).convert("RGB"))
            image = np.zeros((*rgb.shape[:2], 5), np.uint16)
            image[..., [4, 3, 1]] = rgb.astype(np.uint16) * 16
            entry["file_name"] = f"{i}.{'tif' if i % 2 else 'npy'}"
            if i % 2:
                tifffile.imwrite(folder / part / f"{i}.tif", image.transpose(2, 0, 1))
            else:
                np.save(folder / part / f"{i}.npy", image)
        path.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def model(bands, tmp_path_factory):
    """The model.keras of a run of one step, with a validation and its pictures."""
    output = tmp_path_factory.mktemp("runs") / "run"
    flags = [*data_flags(bands, "train"), *data_flags(bands, "val", "val_"), *TINY, *PIXELS]
    with eager_steps():
        assert cli.run(["train", *flags, f"--output={output}", "--steps=1", "--quiet"]) == 0
    return output / "model.keras"


def test_train_reads_the_bands_that_its_flags_name(bands, tmp_path, monkeypatch, capsys):
    def new_model(config, options, goes_on):
        raise ValueError(f"stopped with {config.reading()}")

    monkeypatch.setattr("keras_maskrcnn.cli.train.new_model", new_model)
    flags = [*data_flags(bands, "train"), *data_flags(bands, "val", "val_"), *TINY, *PIXELS]
    assert cli.run(["train", *flags, f"--output={tmp_path / 'run'}", "--steps=1"]) == 1
    expected = {"channels": 5, "image_dtype": "uint16", "pixel_max": 4095.0}
    assert f"stopped with {expected}" in capsys.readouterr().err


@pytest.mark.slow
def test_train_keeps_the_bands(model):
    import keras

    config = keras.models.load_model(model).config
    assert config.reading() == {"channels": 5, "image_dtype": "uint16", "pixel_max": 4095}
    assert list((model.parent / "logs" / "validation").glob("events*"))  # pictures


def test_train_without_the_flags_names_the_first_image(bands, tmp_path, capsys):
    flags = [*data_flags(bands, "train"), *TINY, f"--output={tmp_path / 'run'}", "--steps=1"]
    assert cli.run(["train", *flags]) == 1
    line = r"0.npy: an image must have 3 bands (channels=3). Received: 5 bands"
    assert line in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_evaluate_and_explain_take_the_bands_from_the_model(model, bands, tmp_path):
    flags = [f"--model={model}", *data_flags(bands, "val"), "--quiet"]
    assert cli.run(["evaluate", *flags, f"--output={tmp_path / 'metrics.json'}"]) == 0
    assert "segm/AP" in json.loads((tmp_path / "metrics.json").read_text())
    look = ["--bands=5", "--stretch=values,0,4095"]
    assert cli.run(["explain", *flags, *look, f"--output={tmp_path / 'why'}", "--image=0.npy"]) == 0
    picture = np.asarray(Image.open(tmp_path / "why" / "0.png"))
    assert picture.shape[2] == 3 and picture.size
    assert cli.run(["explain", *flags, "--bands=6", f"--output={tmp_path / 'no'}"]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_predict_reads_all_files_alone_and_as_one_tile(model, bands, tmp_path):
    flags = ["predict", f"--model={model}", f"--input={bands / 'val'}", "--quiet"]
    assert cli.run([*flags, f"--output={tmp_path / 'alone'}", "--bands=5,4,2"]) == 0
    assert cli.run([*flags, f"--output={tmp_path / 'tiles'}", "--tile=64"]) == 0
    alone, tiles = (
        json.loads((tmp_path / name / "predictions.json").read_text())
        for name in ("alone", "tiles")
    )
    assert {result["file_name"] for result in alone} == {"0.npy", "1.tif", "2.npy"}
    # A tile's pieces that overlap become one object.
    assert 0 < len(tiles) <= len(alone)
    assert max(r["score"] for r in tiles) <= max(r["score"] for r in alone) + 1e-5


def test_validate_tells_of_the_bands(bands, tmp_path, capsys):
    flags = ["validate", *data_flags(bands, "train")]
    more = ["--bands=5,4,2", "--max_instances=1", f"--output={tmp_path / 'out'}"]
    assert cli.run([*flags, *PIXELS, *more]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["severities"]["error"] == 0 and len(report["pixels"]["bands"]) == 5
    assert (tmp_path / "out" / "report.html").read_text().count("<figure>") > 0
    assert cli.run([*flags, "--quiet"]) == 1  # as 8-bit RGB
    assert "must have 3 bands" in capsys.readouterr().err


def test_convert_writes_tiles_with_all_bands(bands, tmp_path, capsys):
    flags = ["convert", "--format=coco_json", *data_flags(bands, "train"), *PIXELS]
    flags += [f"--output={tmp_path / 'tiles.json'}", "--tile=32", "--overlap=8"]
    assert cli.run([*flags, f"--tile_images={tmp_path / 'tiles'}"]) == 0
    reading = {"channels": 5, "image_dtype": "uint16", "pixel_max": 4095}
    tiles = data.coco_json(tmp_path / "tiles", tmp_path / "tiles.json", crowds="ignore", **reading)
    assert tiles.load_image(0).shape == (32, 32, 5) and tiles.load_image(0).dtype == np.uint16
    assert any(tiles.load_image(i)[..., 4].max() > 255 for i in range(len(tiles)))
    flags = [flag for flag in flags if flag not in PIXELS]
    assert cli.run([*flags, f"--tile_images={tmp_path / 'more'}", "--overwrite"]) == 1
    assert "0.npy: not a .npy file of an image" in capsys.readouterr().err
