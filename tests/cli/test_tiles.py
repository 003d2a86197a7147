"""cli/tiles.py: the flags --tile, --overlap, --min_share and --empty_tiles."""

import json

import pytest
from absl import flags

from keras_maskrcnn import cli, data
from keras_maskrcnn.cli import tiles
from keras_maskrcnn.cli.definer import Definer


@pytest.fixture
def parse():
    """Function that returns the values of a command with tiles, for a command line."""

    def values(*arguments):
        options = flags.FlagValues()
        define = Definer(options)
        tiles.tile_flags(define)
        define.crowds()
        define.on_error("")
        options(["command", *arguments])
        return options

    return values


def test_without_a_tile_nothing_changes(parse):
    options = parse()
    tiles.check_tiles(options)
    assert tiles.reading(options) == {"crowds": "drop", "on_error": "raise"}
    assert tiles.in_tiles("anything", options) == "anything"
    assert tiles.identity(options) == {}


def test_with_tiles_crowds_are_ignored_unless_the_flag_is_given(parse):
    options = parse("--tile=256", "--overlap=64", "--empty_tiles=0.1")
    tiles.check_tiles(options)
    assert tiles.reading(options) == {"crowds": "ignore", "check_images": False}
    expected = {"tile": 256, "overlap": 64, "min_share": None, "empty_tiles": 0.1}
    assert tiles.identity(options) == expected
    for way in ("drop", "objects"):
        assert tiles.crowds(parse("--tile=256", f"--crowds={way}")) == way


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--overlap=64"], "--overlap needs --tile. Received: overlap=64."),
        (["--min_share=0"], "--min_share needs --tile. Received: min_share=0.0."),
        (["--tile=64", "--overlap=64"], "overlap must be at least 1 and less than tile. Received"),
        (["--tile=3"], "Received: overlap=(0, 0), tile=(3, 3)."),  # a quarter of it
    ],
)
def test_impossible_tiles_are_refused_before_any_work(parse, arguments, message):
    with pytest.raises(ValueError) as error:
        tiles.check_tiles(parse(*arguments))
    assert message in str(error.value)


def convert(shapes, folder, *arguments):
    inputs = [f"--images={shapes / 'train'}", f"--annotations={shapes / 'annotations/train.json'}"]
    command = ["convert", "--format=coco_json", *inputs, f"--output={folder / 't.json'}"]
    return cli.run([*command, f"--tile_images={folder / 't'}", *arguments])


def test_convert_writes_tiles_and_counts_what_became_of_the_objects(shapes, tmp_path, capsys):
    assert convert(shapes, tmp_path, "--tile=48", "--overlap=16", "--empty_tiles=0") == 0
    printed = capsys.readouterr().out
    assert "tiles of 48 x 48 pixels with an overlap of 16 x 16" in printed
    assert "Pass --crowds=ignore to train" in printed
    dataset = data.coco_json(tmp_path / "t", tmp_path / "t.json", crowds="ignore")
    assert set(dataset.sizes) == {(48, 48)} and (dataset.num_instances > 0).all()
    assert f"-> {len(dataset)} tiles of" in printed
    whole = data.coco_json(shapes / "train", shapes / "annotations/train.json")
    assert f"{len(whole.labels)} objects: " in printed
    content = json.loads((tmp_path / "t.json").read_text())
    names = {entry["file_name"] for entry in content["images"]}
    assert names == {path.name for path in (tmp_path / "t").iterdir()}
    assert convert(shapes, tmp_path, "--tile=48", "--overlap=16") == 1
    (tmp_path / "t.json").unlink()
    assert convert(shapes, tmp_path, "--tile=48", "--overlap=16") == 1
    assert f"{tmp_path / 't'} holds files; pass --overwrite" in capsys.readouterr().err
    jpg = ["--tile=48", "--overlap=16", "--tile_format=jpg", "--overwrite", "--quiet"]
    assert convert(shapes, tmp_path, *jpg) == 0


def test_convert_refuses_tiles_that_cannot_be_written(shapes, tmp_path, capsys):
    assert convert(shapes, tmp_path) == 1
    assert "--tile and --tile_images must be given together" in capsys.readouterr().err
    inside = f"--tile_images={shapes / 'train' / 'tiles'}"
    assert convert(shapes, tmp_path, "--tile=48", "--overlap=9", inside) == 1
    assert "--tile_images must lie outside of --images" in capsys.readouterr().err
    assert convert(shapes, tmp_path, "--tile=4800") == 1
    assert "the tile is larger than every image" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
