"""The site builds strictly, leads nowhere wrong, and has every public name and config field."""

import dataclasses
import html
import html.parser
import importlib
import os
import pathlib
import re
import subprocess
import sys
import zlib
from urllib.parse import unquote, urldefrag, urljoin

import pytest

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = [
    "analysis",
    "data",
    "data.augment",
    "distribution",
    "doctor",
    "environment",
    "evaluation",
    "explaining",
    "export",
    "runtime",
    "training",
    "viewer",
    "weights",
    "writers",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def documented(site):
    """The names that the reference has."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}


class Page(html.parser.HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links |= {attrs[name] for name in ("href", "src") if attrs.get(name)}
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}


def test_every_link_of_the_site_leads_to_a_page_and_a_place_in_it(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 30
    for path, page in pages.items():
        here = f"http://site/{path.relative_to(site).as_posix()}"
        for link in page.links:
            address, anchor = urldefrag(urljoin(here, link))
            if not address.startswith("http://site/"):
                continue
            target = site / unquote(address.removeprefix("http://site/"))
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.relative_to(site)}: {link}"
            if anchor and target in pages:
                assert unquote(anchor) in pages[target].anchors, f"{path.relative_to(site)}: {link}"


def test_the_site_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for start in ('<script src="http', '<link rel="stylesheet" href="http', '<img src="http'):
            assert start not in text, path


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name_of(package, documented):
    module = importlib.import_module(f"keras_maskrcnn.{package}")
    names = {f"keras_maskrcnn.{package}.{name}" for name in module.__all__}
    assert names <= documented, sorted(names - documented)


def test_the_reference_has_every_name_of_the_face(documented):
    for name in mrcnn.__all__:
        value = getattr(mrcnn, name)
        if callable(value):
            assert f"{value.__module__}.{value.__name__}" in documented, name
        else:  # a package, whose names are tested above, or a module of functions
            name = f"keras_maskrcnn.{'presets.PRESETS' if name == 'PRESETS' else name}"
            assert any(other == name or other.startswith(f"{name}.") for other in documented), name


def test_the_reference_has_every_field_of_the_config(documented):
    for field in dataclasses.fields(mrcnn.MaskRCNNConfig):
        assert f"keras_maskrcnn.config.MaskRCNNConfig.{field.name}" in documented


def test_the_page_of_the_commands_is_what_they_print(site, capsys):
    text = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub("<[^>]*>", "", text))
    for name in cli.COMMANDS:
        cli.run([name, "--help"])
        for line in capsys.readouterr().out.splitlines():
            assert line.rstrip() in text, name
