import json
import os
import signal

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_maskrcnn import cli, visualize
from keras_maskrcnn.config import MaskRCNNConfig


def test_predict_goes_on_after_a_broken_image_names_it_and_ends_with_1(broken, run, model, capsys):
    output = broken / "out"
    assert run("predict", output) == 1
    assert sorted(os.listdir(output)) == ["a.png", "c.png", "predictions.json"]
    results = json.loads((output / "predictions.json").read_text())
    assert [result["file_name"] for result in results] == ["a.png", "c.png"]
    assert results[0]["bbox"] == [1, 2, 20, 10] and results[0]["score"] == 0.75
    printed = capsys.readouterr()
    assert "2 detections in 2 images" in printed.out
    assert "1 of 3 images could not be read" in printed.err and "b.png" in printed.err
    assert run("predict", output, "--overwrite", "--on_error=skip") == 0
    assert "not in the results: b.png." in capsys.readouterr().out


def test_predict_goes_down_into_folders_but_not_into_its_output(broken, run, model, caplog):
    images, pixels = broken / "images", np.zeros((40, 60, 3), np.uint8)
    os.remove(images / "b.png")
    for name in ("sub/a.png", "sub/deep/x.TIF", "out/old.png", "._a.png", "notes.txt"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(images / name, "TIFF" if name.endswith("TIF") else "PNG")
    assert run("predict", images / "out", "--overwrite") == 0
    results = json.loads((images / "out" / "predictions.json").read_text())
    names = [result["file_name"] for result in results]
    assert names == ["a.png", "c.png", "sub/a.png", "sub/deep/x.TIF"]
    for name in ("a", "c", "sub/a", "sub/deep/x", "old"):
        assert (images / "out" / f"{name}.png").is_file()
    assert "1 files in" in caplog.text  # notes.txt


def test_predict_says_what_may_be_a_mistake_once_for_all_images(broken, run, model, caplog):
    images, exif = broken / "images", Image.Exif()
    exif[0x0112] = 6
    for i in (1, 2):
        Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(images / f"dark{i}.png")
        Image.new("RGB", (40, 60)).save(images / f"turned{i}.jpg", exif=exif)
    run("predict", broken / "out")
    (dark,) = [line for line in caplog.messages if line.startswith("2 images have 16 bits")]
    assert dark.endswith("('dark1.png', 'dark2.png')")
    (turned,) = [line for line in caplog.messages if "2 images have an orientation tag" in line]
    assert turned.endswith("('turned1.jpg', 'turned2.jpg')")


def test_predict_of_one_broken_image_writes_nothing(broken, model, capsys):
    argv = ["predict", "--model=m.keras", f"--input={broken / 'images' / 'b.png'}"]
    assert cli.run([*argv, f"--output={broken / 'out'}"]) == 1
    assert "b.png: image cannot be decoded" in capsys.readouterr().err
    assert os.listdir(broken / "out") == []
    assert cli.run([*argv, f"--output={broken / 'out'}", "--on_error=skip"]) == 0
    assert json.loads((broken / "out" / "predictions.json").read_text()) == []
    assert "1 of 1 images could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_predict_writes_what_it_had_when_it_is_stopped(
    broken, run, model, monkeypatch, number, status
):
    def draw(*args, **kwargs):
        if len(model.calls) == 2:
            os.kill(os.getpid(), number)
        return np.zeros([9, 9, 3], np.uint8)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("keras_maskrcnn.visualize.draw", draw)
    # As in a terminal. A shell starts background processes with Ctrl-C ignored.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run("predict", broken / "out") == status
    except SystemExit as stopped:
        assert stopped.code == status
    finally:
        signal.signal(signal.SIGINT, ignored)
    results = json.loads((broken / "out" / "predictions.json").read_text())
    assert [result["file_name"] for result in results] == ["a.png", "c.png"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_predict_that_cannot_write_a_picture_writes_what_it_had(
    broken, run, model, monkeypatch, capsys
):
    def save_png(path, picture):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("keras_maskrcnn.visualize.save_png", save_png)
    assert run("predict", broken / "out") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len(json.loads((broken / "out" / "predictions.json").read_text())) == 1


@pytest.mark.usefixtures("eager")
def test_predict_writes_a_picture_per_image_and_coco_results(small_model, shapes, tmp_path):
    output = tmp_path / "predicted"
    flags = [f"--model={small_model}", f"--input={shapes / 'val'}"]
    flags += ["--quiet", "--score_threshold=0.0", f"--output={output}"]
    assert cli.run(["predict", *flags]) == 0
    pictures = sorted(path.name for path in output.glob("*.png"))
    assert pictures == ["000001.png", "000002.png", "000003.png"]
    results = json.loads((output / "predictions.json").read_text())
    assert {result["file_name"] for result in results} == {f"00000{i}.png" for i in (1, 2, 3)}
    assert {result["category_id"] for result in results} <= {3, 7, 8}
    assert results[0]["segmentation"]["size"] == [64, 64]


@pytest.mark.usefixtures("eager")
def test_predict_names_a_file_that_is_no_image(small_model, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    flags = [f"--model={small_model}", f"--input={tmp_path / 'images'}"]
    assert cli.run(["predict", *flags, f"--output={tmp_path / 'out'}", "--quiet"]) == 1
    assert "text.png" in capsys.readouterr().err


def test_predict_reads_the_bands_of_the_model_and_draws_those_of_the_flag(model, tmp_path, caplog):
    model.config = MaskRCNNConfig(num_classes=1, in_channels=5, image_dtype="uint16")
    (tmp_path / "images").mkdir()
    image = np.zeros((520, 600, 5), np.uint16)
    image[..., 4] = np.arange(600) * 10
    np.save(tmp_path / "images" / "a.npy", image)
    tifffile.imwrite(tmp_path / "images" / "b.tif", image.transpose(2, 0, 1))
    Image.new("RGB", (40, 60)).save(tmp_path / "images" / "c.png")
    argv = ["predict", "--model=m.keras", f"--input={tmp_path / 'images'}"]
    flags = ["--bands=5,1,1", "--draw_threshold=1"]
    assert cli.run([*argv, f"--output={tmp_path / 'out'}", *flags]) == 1
    assert "c.png: an image must have 5 bands (channels=5). Received: 3 bands" in caplog.text
    assert model.calls == [(520, 600, 5)] * 2
    expected = visualize.as_rgb(image, (5, 1, 1), (2, 98))
    assert expected[..., 0].max() == 255 and not expected[..., 1:].any()
    for name in ("a.png", "b.png"):
        drawn = np.asarray(Image.open(tmp_path / "out" / name))
        np.testing.assert_array_equal(drawn, expected)


def test_predict_refuses_bands_for_videos(model, tmp_path, capsys):
    argv = ["predict", "--model=m.keras", f"--input={tmp_path}", "--frames"]
    assert cli.run([*argv, f"--output={tmp_path / 'out'}", "--bands=1"]) == 1
    assert "--bands is for images, not videos. Received: bands=['1']" in capsys.readouterr().err
