"""The package as it is released: version, metadata, command, README, wheel and sdist."""

import ast
import importlib
import importlib.metadata
import os
import pathlib
import re
import runpy
import sys
import tarfile
import zipfile

import pytest
from outside import copy_tree, run

import keras_maskrcnn

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "keras_maskrcnn").rglob("*.py"))


@pytest.fixture
def readme():
    """The text of README.md."""
    path = ROOT / "README.md"
    if not path.exists():
        pytest.skip("there is no README.md yet")
    return path.read_text(encoding="utf-8")


def test_setup_cfg_takes_the_version_from_a_literal_of_the_package(metadata):
    module, name = metadata["metadata"]["version"].removeprefix("attr: ").rsplit(".", 1)
    source = (ROOT / module.replace(".", "/")).with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    literals = [
        ast.literal_eval(node.value)  # setuptools reads it so, without importing TensorFlow
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    assert literals == [keras_maskrcnn.__version__]


def test_installed_version_is_the_version_of_the_package():
    try:
        installed = importlib.metadata.version("keras3-maskrcnn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("keras3-maskrcnn is not installed in this environment")
    assert installed == keras_maskrcnn.__version__, 'again: pip install -e ".[dev]"'


def test_console_script_names_a_function(metadata):
    scripts = metadata["options.entry_points"]["console_scripts"].strip()
    command, module, function = re.fullmatch(r"(\S+) = ([\w.]+):(\w+)", scripts).groups()
    assert command == "keras-maskrcnn"
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))


def test_the_wheel_says_that_the_package_has_types(metadata):
    """Type checkers look for this file (PEP 561). The slow test below finds it in a wheel."""
    assert "py.typed" in metadata["options.package_data"]["keras_maskrcnn"].split()
    assert (ROOT / "keras_maskrcnn" / "py.typed").exists()


def test_links_of_the_readme_lead_to_the_project_on_pypi(readme):
    description = runpy.run_path(str(ROOT / "setup.py"))["description"]
    text = description(readme, "https://forge.example/project")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets and all(re.match("https?://|#", target) for target in targets)
    assert "![" in text and "(https://forge.example/project/raw/main/docs/" in text
    assert "(https://forge.example/project/blob/main/docs/training.md)" in text


def test_without_an_address_no_link_of_the_description_is_dead(readme):
    description = runpy.run_path(str(ROOT / "setup.py"))["description"]
    text = description(readme, "")
    assert all(re.match("https?://|#", target) for target in re.findall(r"\]\(([^)\s]+)\)", text))
    assert "![" not in text and "| [" not in text and "Which preset, which size" in text


def test_ci_runs_the_test_command_of_the_readme(readme):
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert "pytest" in command
    assert command in [line.strip() for line in readme.splitlines()]


def test_pypi_renders_the_whole_readme(readme):
    """As PyPI does: its renderer leaves out what may be unsafe."""
    reason = "readme-renderer[md] (extra dev) is not installed"
    markdown = pytest.importorskip("readme_renderer.markdown", reason=reason)
    if not markdown.variants:
        pytest.skip(reason)
    description = runpy.run_path(str(ROOT / "setup.py"))["description"]
    for url in ("", "https://forge.example/project"):
        text = description(readme, url)
        page = markdown.render(text)
        plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        counts = {
            r"<h2": r"^## ",
            r"<pre": r"^```\w",
            r"<table": r"^\|(?: -+ \|)+$",
            r"<li": r"^- ",
            r'href="https?://': r"(?<!!)\[[^\]]*\]\(http",
            r"<img": r"!\[",
        }
        for tag, mark in counts.items():
            source = text if tag == "<pre" else plain
            expected = len(re.findall(mark, source, re.MULTILINE))
            assert len(re.findall(tag, page)) == expected, (tag, url)
        assert "skip: next" not in page and "](" not in page
        links = re.findall(r'(?:href|src)="([^"]*)"', page)
        assert links and all(re.match("https?://|#", link) for link in links)


def test_links_of_the_project_are_its_address_or_none():
    links = runpy.run_path(str(ROOT / "setup.py"))["links"]
    url = "https://forge.example/project"
    assert links("") == {}
    assert all(link.startswith(url) for link in links(url).values())


def test_the_license_is_an_expression_with_files(metadata):
    """`License-Expression` and `License-File` of metadata 2.4."""
    assert metadata["metadata"]["license_expression"] == "Apache-2.0"
    files = metadata["metadata"]["license_files"].split()
    assert files == ["LICENSE", "THIRD_PARTY_NOTICES.md"]
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:\w+/)*[\w.]+\.(?:py|png|md))`", notices):
        assert (ROOT / path).exists() or (ROOT / "keras_maskrcnn" / path).exists(), path


def test_the_package_imports_only_what_setup_cfg_installs(requirements):
    modules = {"absl-py": "absl", "pillow": "PIL", "pyyaml": "yaml", "scikit-image": "skimage"}
    modules["openslide-python"] = "openslide"
    names = {
        extra: {modules.get(one.name, one.name.replace("-", "_")) for one in listed}
        for extra, listed in requirements.items()
    }
    required = names[""]
    required.add("h5py")  # Keras'
    extras = {
        "beam": {"apache_beam"},
        "engine": {"faster_coco_eval"},
        "formats": {"shapely", "skimage", "tifffile"},
        "geo": {"rasterio", "tifffile"},
        "measures": {"scipy"},
        "onnx": {"onnx", "onnxruntime", "tf2onnx"},
        "openvino": {"openvino"},
        "slides": {"openslide", "tifffile"},
        "tiff": {"imagecodecs", "tifffile"},
        "track": {"supervision", "trackers"},
        "video": {"av"},
        "weights": {"safetensors"},
        "zarr": {"zarr"},
    }
    names["track"].add("supervision")  # trackers'
    for extra, optional in extras.items():
        assert optional <= names[extra]
    imported = set()
    for path in MODULES:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"keras_maskrcnn"}
    assert others - required == set().union(*extras.values())


# A wheel and a source distribution


def build(folder, umask):
    """Builds from a copy of the tree, whose files are as a clone with this umask has them."""
    source, dist = folder / "source", folder / "dist"
    copy_tree(source)
    for path in source.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        os.utime(path, (umask, umask))  # another time for each umask
    command = (sys.executable, "-m", "build", "--outdir", dist, source)
    run(*command, cwd=folder, umask=umask, environment={"SOURCE_DATE_EPOCH": "1700000000"})
    return {path.suffix: path for path in dist.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files of a release: {".whl": path, ".gz": path}."""
    return build(tmp_path_factory.mktemp("build"), 0o022)


@pytest.mark.slow
@pytest.mark.network
def test_a_second_build_has_the_same_bytes(built, tmp_path):
    again = build(tmp_path, 0o077)
    assert sorted(again) == [".gz", ".whl"]
    for suffix, path in built.items():
        assert again[suffix].name == path.name
        assert again[suffix].read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
@pytest.mark.network
def test_twine_accepts_the_files_of_a_release(built):
    pytest.importorskip("twine", reason="twine (extra dev) is not installed")
    printed = run(sys.executable, "-m", "twine", "check", "--strict", *built.values())
    assert printed.count("PASSED") == 2 and "WARNING" not in printed.upper().replace("-W", "")


@pytest.mark.slow
@pytest.mark.network
def test_the_files_of_a_release_hold_the_package_and_no_more(built):
    version = keras_maskrcnn.__version__
    assert built[".whl"].name == f"keras3_maskrcnn-{version}-py3-none-any.whl"
    assert built[".gz"].name == f"keras3_maskrcnn-{version}.tar.gz"
    with zipfile.ZipFile(built[".whl"]) as archive:
        listed = archive.namelist()
        files = [name for name in listed if ".dist-info/" not in name]
        about = archive.read(f"keras3_maskrcnn-{version}.dist-info/METADATA").decode()
        assert {entry.external_attr >> 16 & 0o777 for entry in archive.infolist()} <= {0o644, 0o664}
    licenses = {name.split("/licenses/")[1] for name in listed if "/licenses/" in name}
    assert licenses == {"LICENSE", "THIRD_PARTY_NOTICES.md"}
    assert "\nLicense-Expression: Apache-2.0\n" in about
    pages = [ROOT / f"keras_maskrcnn/{name}/page" for name in ("analysis", "viewer")]
    page = [path for folder in pages for path in sorted(folder.iterdir())]
    data = [ROOT / "keras_maskrcnn/py.typed", *page]
    expected = [path.as_posix() for path in (*MODULES, *(one.relative_to(ROOT) for one in data))]
    assert sorted(files) == sorted(expected)
    with tarfile.open(built[".gz"]) as archive:
        packed = {name.split("/")[1] for name in archive.getnames() if "/" in name}
        assert {(entry.uid, entry.uname, entry.mtime) for entry in archive} == {(0, "", 1700000000)}
    # What the build needs, and no tests: setuptools would pack them without their helpers.
    made = {"PKG-INFO", "keras3_maskrcnn.egg-info"}
    needed = {"setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md"}
    assert packed == {*needed, *licenses, *made, "keras_maskrcnn"}


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("suffix", [".whl", ".gz"])
def test_each_works_in_an_environment_of_its_own(built, suffix, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    bin_dir = tmp_path / "venv" / "bin"
    python = bin_dir / "python"
    run(python, "-m", "pip", "install", "--quiet", built[suffix], cwd=tmp_path)
    run(python, "-m", "pip", "check")
    program = "import keras_maskrcnn; print(keras_maskrcnn.__version__)"
    printed = run(python, "-c", program, cwd=tmp_path)
    assert printed.split() == [keras_maskrcnn.__version__]
    for command in ([bin_dir / "keras-maskrcnn"], [python, "-m", "keras_maskrcnn"]):
        assert "train" in run(*command, "--help", cwd=tmp_path)
    assert keras_maskrcnn.__version__ in run(bin_dir / "keras-maskrcnn", "--version", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_exported_models_run_where_tensorflow_is_not_installed(built, tmp_path):
    """As docs/runtimes.md says: the wheel without its requirements, NumPy, Pillow, a runtime."""
    tiny = runpy.run_path(str(ROOT / "tests" / "runtime" / "tiny_exports.py"))
    tiny["write_onnx"](tmp_path / "model.onnx", tiny["describe"]())
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet")
    run(*install, "--no-deps", built[".whl"], cwd=tmp_path)
    run(*install, "numpy", "pillow", "onnxruntime", cwd=tmp_path)
    program = """
import numpy as np
from keras_maskrcnn.runtime import ExportedModel
model = ExportedModel("model.onnx")
print(len(model.predict(np.full((30, 40, 3), 102, np.uint8))["masks"]))
try:
    from keras_maskrcnn import MaskRCNN
except ImportError as error:
    print(error)
"""
    printed = run(python, "-c", program, cwd=tmp_path)
    assert printed == "2\nNo module named 'keras'\n"
