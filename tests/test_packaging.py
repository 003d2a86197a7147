"""The installed package: version, modules, command, and a wheel in an empty environment."""

import ast
import importlib
import importlib.metadata
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

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
    assert metadata["options.package_data"]["keras_maskrcnn"].split() == ["py.typed"]
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


@pytest.mark.slow
@pytest.mark.network
def test_wheel_works_in_an_environment_of_its_own(tmp_path):
    source = tmp_path / "source"  # a copy, so that building leaves nothing in the tree
    junk = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "venv")
    shutil.copytree(ROOT, source, ignore=junk)
    # Without PYTHONPATH, which could hide that the wheel lacks a file.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*command):
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    # The wheel is built from the source distribution, so that both must be complete.
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", source)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    version = keras_maskrcnn.__version__
    assert wheel.name == f"keras3_maskrcnn-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    expected = [*(path.as_posix() for path in MODULES), "keras_maskrcnn/py.typed"]
    assert sorted(files) == sorted(expected)
    with tarfile.open(tmp_path / "dist" / f"keras3_maskrcnn-{version}.tar.gz") as archive:
        packed = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    # What the build needs, and no tests: setuptools would pack them without their helpers.
    made = {"PKG-INFO", "keras3_maskrcnn.egg-info"}
    needed = {"setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"}
    assert packed == {*needed, *made, "keras_maskrcnn"}

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    bin_dir = tmp_path / "venv" / "bin"
    python = bin_dir / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-m", "pip", "check")
    printed = run(python, "-c", "import keras_maskrcnn; print(keras_maskrcnn.__version__)")
    assert printed.split() == [version]
    for command in ([bin_dir / "keras-maskrcnn"], [python, "-m", "keras_maskrcnn"]):
        assert "train" in run(*command, "--help")
