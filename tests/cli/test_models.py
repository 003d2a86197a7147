"""The commands that use a model, with a fake one: what they refuse before work, and lose after."""

import json
import os
import pathlib
import signal
import sys
import types

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import cli, data
from keras_maskrcnn.config import MaskRCNNConfig


@pytest.fixture
def folder(tmp_path):
    """Images of which b.png is cut off in the middle, and their annotations."""
    (tmp_path / "images").mkdir()
    images = []
    for i, name in enumerate(["a.png", "b.png", "c.png"]):
        path = tmp_path / "images" / name
        noise = np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(path)
        images.append({"id": i + 1, "file_name": name, "height": 40, "width": 60})
    whole = path.read_bytes()
    (tmp_path / "images" / "b.png").write_bytes(whole[: len(whole) // 2])
    annotations = [
        {
            "id": i,
            "image_id": i,
            "category_id": 3,
            "bbox": [5, 5, 20, 20],
            "area": 400,
            "iscrowd": 0,
            "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]],
        }
        for i in (1, 2, 3)
    ]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cell"}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def model(monkeypatch):
    """Stands in for the model of every --model; finds one thing in each image."""
    fake = types.SimpleNamespace(config=MaskRCNNConfig(num_classes=1), calls=[])

    def predict_image(model, image):
        fake.calls.append(image.shape)
        return {
            "boxes": np.array([[1, 2, 21, 12]], np.float32),
            "scores": np.array([0.75], np.float32),
            "labels": np.array([1], np.int32),
            "masks": np.ones([1, *image.shape[:2]], bool),
        }

    monkeypatch.setattr("keras_maskrcnn.cli.models.load_model", lambda path: fake)
    monkeypatch.setattr("keras_maskrcnn.detections.predict_image", predict_image)
    return fake


@pytest.fixture
def scored(model, monkeypatch):
    """Stands in for the evaluation; a list of the data sets that were scored."""
    calls = []

    def evaluate(model, dataset, **options):
        calls.append(dataset)
        for index in range(len(dataset)):
            try:
                dataset.load_image(index)
            except data.DataError:
                dataset.skipped[dataset.file_names[index]] = 1
        return {"bbox/AP": 0.25}

    monkeypatch.setattr("keras_maskrcnn.evaluation.evaluate", evaluate)
    return calls


def run(command, folder, output, *flags):
    read = (
        [f"--input={folder / 'images'}"]
        if command == "predict"
        else [f"--images={folder / 'images'}", f"--annotations={folder / 'ann.json'}"]
    )
    return cli.run([command, "--model=m.keras", *read, f"--output={output}", *flags])


def test_predict_goes_on_behind_a_broken_image_names_it_and_ends_with_1(folder, model, capsys):
    output = folder / "out"
    assert run("predict", folder, output) == 1
    assert sorted(os.listdir(output)) == ["a.png", "c.png", "predictions.json"]
    results = json.loads((output / "predictions.json").read_text())
    assert [result["file_name"] for result in results] == ["a.png", "c.png"]
    assert results[0]["bbox"] == [1, 2, 20, 10] and results[0]["score"] == 0.75
    printed = capsys.readouterr()
    assert "2 detections in 2 images" in printed.out
    assert "1 of 3 images could not be read" in printed.err and "b.png" in printed.err
    assert run("predict", folder, output, "--overwrite", "--on_error=skip") == 0
    assert "without them: b.png." in capsys.readouterr().out


def test_predict_goes_down_into_folders_but_not_into_its_output(folder, model, caplog):
    images, pixels = folder / "images", np.zeros((40, 60, 3), np.uint8)
    os.remove(images / "b.png")
    for name in ("sub/a.png", "sub/deep/x.TIF", "out/old.png", "._a.png", "notes.txt"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(images / name, "TIFF" if name.endswith("TIF") else "PNG")
    assert run("predict", folder, images / "out", "--overwrite") == 0
    results = json.loads((images / "out" / "predictions.json").read_text())
    names = [result["file_name"] for result in results]
    assert names == ["a.png", "c.png", "sub/a.png", "sub/deep/x.TIF"]
    for name in ("a", "c", "sub/a", "sub/deep/x", "old"):
        assert (images / "out" / f"{name}.png").is_file()
    assert "1 files in" in caplog.text  # notes.txt


def test_predict_says_what_may_be_a_mistake_once_for_all_images(folder, model, caplog):
    images, exif = folder / "images", Image.Exif()
    exif[0x0112] = 6
    for i in (1, 2):
        Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(images / f"dark{i}.png")
        Image.new("RGB", (40, 60)).save(images / f"turned{i}.jpg", exif=exif)
    run("predict", folder, folder / "out")
    (dark,) = [line for line in caplog.messages if line.startswith("2 images have 16 bits")]
    assert dark.endswith("('dark1.png', 'dark2.png')")
    (turned,) = [line for line in caplog.messages if "2 images have an orientation tag" in line]
    assert turned.endswith("('turned1.jpg', 'turned2.jpg')")


def test_predict_of_one_broken_image_writes_nothing(folder, model, capsys):
    argv = ["predict", "--model=m.keras", f"--input={folder / 'images' / 'b.png'}"]
    assert cli.run([*argv, f"--output={folder / 'out'}"]) == 1
    assert "b.png: image cannot be decoded" in capsys.readouterr().err
    assert os.listdir(folder / "out") == []
    assert cli.run([*argv, f"--output={folder / 'out'}", "--on_error=skip"]) == 0
    assert json.loads((folder / "out" / "predictions.json").read_text()) == []
    assert "1 of 1 images could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_predict_writes_what_it_had_when_it_is_stopped(folder, model, monkeypatch, number, status):
    def draw(*args, **kwargs):
        if len(model.calls) == 2:
            os.kill(os.getpid(), number)
        return np.zeros([9, 9, 3], np.uint8)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("keras_maskrcnn.visualize.draw", draw)
    # As in a terminal: a shell starts what runs in its background with Ctrl-C ignored.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run("predict", folder, folder / "out") == status
    except SystemExit as stopped:
        assert stopped.code == status
    finally:
        signal.signal(signal.SIGINT, ignored)
    results = json.loads((folder / "out" / "predictions.json").read_text())
    assert [result["file_name"] for result in results] == ["a.png", "c.png"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_predict_that_cannot_write_a_picture_writes_what_it_had(folder, model, monkeypatch, capsys):
    def save_png(path, picture):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("keras_maskrcnn.visualize.save_png", save_png)
    assert run("predict", folder, folder / "out") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len(json.loads((folder / "out" / "predictions.json").read_text())) == 1


def test_evaluate_makes_its_folder_and_names_what_it_could_not_read(folder, scored, capsys):
    output = folder / "no" / "such" / "metrics.json"
    assert run("evaluate", folder, output) == 1
    assert json.loads(output.read_text()) == {"bbox/AP": 0.25, "unreadable": ["b.png"]}
    printed = capsys.readouterr()
    assert printed.out == f"{'bbox/AP':<24} 0.2500\n"
    assert "1 of 3 images could not be read" in printed.err
    assert run("evaluate", folder, output, "--overwrite", "--on_error=skip", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_numbers_that_cannot_be_written_are_printed_even_if_quiet(
    folder, scored, monkeypatch, capsys
):
    def full(path, content, indent=None):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("keras_maskrcnn.cli.files.write_json", full)
    assert run("evaluate", folder, folder / "metrics.json", "--quiet") == 1
    printed = capsys.readouterr()
    assert printed.out == f"{'bbox/AP':<24} 0.2500\n"
    assert "No space left on device" in printed.err and "metrics.json" in printed.err


def commands(folder):
    """argv of every command that writes, but for --output."""
    read = [f"--images={folder / 'images'}", f"--annotations={folder / 'ann.json'}"]
    model = ["--model=m.keras"]
    small = "--preset=mask_rcnn_resnet18_fpn_small"
    return {
        "train": ["train", *read, small],
        "evaluate": ["evaluate", *model, *read],
        "propose": ["propose", *model, *read],
        "predict": ["predict", *model, f"--input={folder / 'images'}"],
        "explain": ["explain", *model, *read],
        "export": ["export", *model],
        "export onnx": ["export", *model, "--format=onnx", "--image_size=64x64"],
        "import-weights": [
            "import-weights",
            "--source=torchvision",
            small,
            f"--checkpoint={folder / 'ann.json'}",
        ],
        "validate": ["validate", *read],
        "convert": ["convert", "--format=coco_json", *read],
    }


@pytest.mark.parametrize("name", list(commands(pathlib.Path())))
def test_an_output_below_a_file_is_refused_before_work(folder, scored, name, capsys):
    (folder / "file").write_text("text")
    argv = [*commands(folder)[name], f"--output={folder / 'file' / 'below' / 'x.keras'}"]
    assert cli.run(argv) == 1
    printed = capsys.readouterr()
    assert f"nothing can be written into {folder / 'file'} (Not a directory)" in printed.err
    assert "Received: output=" in printed.err
    assert printed.out == "" and not scored
    assert (folder / "file").read_text() == "text"


def test_a_folder_in_the_place_of_a_file_is_refused_before_work(folder, scored, capsys):
    (folder / "taken").mkdir()
    assert run("evaluate", folder, folder / "taken", "--overwrite") == 1
    assert "a file is wanted, not a folder. Received: output=" in capsys.readouterr().err
    assert not scored


def test_convert_and_fix_make_their_folders(folder, capsys):
    read = [f"--images={folder / 'images'}", f"--annotations={folder / 'ann.json'}", "--quiet"]
    output = folder / "new" / "folder" / "a.json"
    assert cli.run(["convert", "--format=coco_json", *read, f"--output={output}"]) == 0
    assert len(json.loads(output.read_text())["images"]) == 3
    fixed = folder / "newer" / "fixed.json"
    cli.run(["validate", *read, f"--fix={fixed}"])  # b.png is an error
    assert json.loads(fixed.read_text())["images"]


@pytest.fixture
def explained(model, monkeypatch):
    """Stands in for `explain`: one object an image, which no anchor met."""

    def explain(model, dataset, index, proposals=None):
        dataset.load_image(index)
        found = {"objects": [{"cause": "no anchor", "limit": "anchor_sizes"}]}
        return types.SimpleNamespace(
            as_dict=lambda: found, picture=lambda: np.zeros([9, 9, 3], np.uint8)
        )

    # The module, which the package hides behind the function.
    monkeypatch.setattr(sys.modules["keras_maskrcnn.explain"], "explain", explain)


def test_explain_goes_on_behind_a_broken_image_and_ends_with_1(folder, explained, capsys):
    output = folder / "out"
    assert run("explain", folder, output) == 1
    written = json.loads((output / "explain.json").read_text())
    assert (written["images"], written["unreadable"]) == (2, ["b.png"])
    printed = capsys.readouterr()
    assert "0 of 2 objects in 2 images found; lost:\n       2 no anchor (anchor" in printed.out
    assert "1 of 3 images could not be read" in printed.err
    assert run("explain", folder, output, "--overwrite", "--on_error=skip") == 0


def test_what_explain_counted_is_printed_if_it_cannot_be_written(
    folder, explained, monkeypatch, capsys
):
    def full(path, content, indent=None):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("keras_maskrcnn.cli.files.write_json", full)
    assert run("explain", folder, folder / "out") == 1
    printed = capsys.readouterr()
    assert "0 of 2 objects in 2 images found" in printed.out
    assert "No space left on device" in printed.err
