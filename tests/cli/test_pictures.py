import re

import pytest
from absl import flags as absl_flags

from keras_maskrcnn import cli
from keras_maskrcnn.cli import pictures
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config import MaskRCNNConfig


def test_pictures_of_images_that_differ_only_in_the_suffix_have_different_names():
    names = pictures.picture_names(["a.jpg", "b.jpg", "b.png"])
    assert names == ["a.png", "b.jpg.png", "b.png.png"]
    names = pictures.picture_names(["a.jpg", "a.png", "a.png.png", "a.jpg.tif", "b.tif.tif"])
    assert names == ["a.jpg.png", "a.png.png", "a.png.png.png", "a.jpg.tif.png", "b.tif.png"]


@pytest.mark.parametrize(
    ("flags", "dtype", "expected"),
    [
        ([], "uint8", (None, "none")),
        ([], "uint16", (None, (2, 98))),
        (["--bands=4,3,2"], "float32", ((4, 3, 2), (2, 98))),
        (["--stretch=none"], "uint8", (None, "none")),
        (["--stretch=none"], "uint16", (None, ("values", 0, 4095))),
        (["--stretch=0.5,99.5"], "uint8", (None, (0.5, 99.5))),
        (["--stretch=values,-1,0.3", "--bands=5"], "float32", ((5,), ("values", -1, 0.3))),
    ],
)
def test_flags_become_the_arguments_of_pictures(flags, dtype, expected):
    values = absl_flags.FlagValues()
    pictures.look_flags(Definer(values))
    values(["program", *flags])
    white = 4095 if dtype == "uint16" else 0
    config = MaskRCNNConfig(in_channels=5, image_dtype=dtype, pixel_max=white)
    found = pictures.look(values, config)
    assert (found["bands"], found["stretch"]) == expected


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--bands=0", "bands must be one to three numbers from 1 to 32"),
        ("--bands=red", "bands must be .* Received: bands=\\['red'\\]"),
        ("--stretch=98,2", "stretch must be .* Received: stretch=\\['98', '2'\\]"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "tiles", "explain"])
def test_what_fits_no_image_is_refused_before_a_model_is_loaded(
    tmp_path, capsys, command, flag, words
):
    flags = {
        "predict": ["predict", f"--input={tmp_path}"],
        "tiles": ["predict", f"--input={tmp_path}", "--tile=512"],
        "explain": ["explain", f"--images={tmp_path}", "--annotations=a.json"],
    }[command]
    assert cli.run([*flags, "--model=no.keras", f"--output={tmp_path / 'out'}", flag]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
