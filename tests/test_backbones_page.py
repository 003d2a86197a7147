"""The tables of docs/backbones.md are the catalog, with the sizes of the networks that it builds.

python tests/test_backbones_page.py NAME ...   # prints the columns that are computed
"""

import pathlib
import sys

import keras
import pytest

from keras_maskrcnn import networks
from keras_maskrcnn.catalog import BACKBONES, HALF, PLAIN, RGB, SIGNED
from keras_maskrcnn.presets import preset_config

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "backbones.md"
WORDS = {RGB: "ImageNet's mean and deviation", SIGNED: "-1 to 1", HALF: "(x - 128) / 128"}
TITLES = {"ours": "**Ours**", "keras": "**keras.applications", "keras_hub": "**KerasHub"}
LIGHT = ("resnet18", "mobilenetv2")


def rows():
    """The rows of the tables: a dict of name to (title above the table, the other cells)."""
    found, title = {}, ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("**"):
            title = line
        elif line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = (title, *cells)
    return found


def computed(name):
    """The cells for parameters and channels, from the network itself."""
    keras.backend.clear_session()
    neck = "simple_fpn" if name in PLAIN else "fpn"
    backbone = networks.build_backbone(preset_config(f"mask_rcnn_{name}_{neck}", num_classes=1))
    channels = ", ".join(str(x.shape[-1]) for _, x in sorted(backbone.output.items()))
    return f"{backbone.count_params() / 1e6:.1f} M", channels


def test_the_page_has_each_name_with_its_source_and_its_pixels():
    assert list(rows()) == list(BACKBONES)
    for name, (title, _, _, _, pixels, weights) in rows().items():
        entry = BACKBONES[name]
        assert title.startswith(TITLES[entry.source]), name
        assert pixels == WORDS[entry.normalization] and weights, name


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x in LIGHT else pytest.mark.slow) for x in BACKBONES],
)
def test_parameters_and_channels_are_those_of_the_network(name):
    assert rows()[name][2:4] == computed(name)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"| `{name}` |", " | ".join(computed(name)), "|")
