"""Runs the default tests with the versions that users have; docs/versions.md has the results.

    pip install nox uv
    nox --list
    nox -s colab

Each session makes an environment, installs the wheel there, and runs the tests with it. Arguments
after `--` go to pytest, for instance `nox -s colab -- tests/test_model.py`.
"""

import configparser
import pathlib
import re

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["stable", "lowest", "colab", "kaggle"]

ROOT = pathlib.Path(__file__).resolve().parent
PINS = ROOT / "tests" / "pins"


@nox.session(python="3.13")
def stable(session: nox.Session) -> None:
    """The newest releases, and the tests of tracks, whose package is too large for `dev`."""
    run_tests(session, extras=("dev", "track"))


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The lower bounds of setup.cfg."""
    lowest = requirements("options", "install_requires")
    # Newer ones refuse the protobuf of TensorFlow 2.18, and TFDS could not be imported.
    lowest += ["tensorflow-metadata>=1.17,<1.18"]
    session.install("--resolution=lowest-direct", *lowest)
    run_tests(session)


@nox.session(python="3.13")
def colab(session: nox.Session) -> None:
    """Google Colab; tests/pins/colab.txt has the versions."""
    session.install("-r", PINS / "colab.txt")
    run_tests(session)


@nox.session(python="3.12")
def kaggle(session: nox.Session) -> None:
    """Kaggle's notebooks; tests/pins/kaggle.txt has the versions."""
    session.install("-r", PINS / "kaggle.txt")
    run_tests(session)


@nox.session(python="3.13")
def prerelease(session: nox.Session) -> None:
    """The next TensorFlow and Keras. It may fail; docs/versions.md says why."""
    session.install("--prerelease=allow", "tensorflow>=2.22.0rc0", "keras-nightly")
    # keras and keras-nightly have the same files, so the wheel must not install keras.
    no_keras = pathlib.Path(session.create_tmp(), "no_keras.txt")
    no_keras.write_text("keras; python_version < '3'\n", encoding="utf-8")
    run_tests(session, "--overrides", no_keras)


def run_tests(
    session: nox.Session, *options: str | pathlib.Path, extras: tuple[str, ...] = ("dev",)
) -> None:
    """Installs the wheel and the test tools, which must change nothing, and runs the tests.

    Args:
        session: nox.Session. What is to be tested is installed.
        *options: str or pathlib.Path. Arguments of `uv pip install` for the wheel.
        extras: tuple of str. Extras of setup.cfg to install.
    """
    folder = pathlib.Path(session.create_tmp())
    dist = folder / "dist"
    session.run("uv", "build", "-q", "--clear", "-o", dist, ROOT, external=True)
    asked = [requirements("options.extras_require", extra) for extra in extras]
    for installed in (dist.glob("*.whl"), *asked):
        printed = session.run("uv", "pip", "freeze", external=True, silent=True)
        frozen = folder / "frozen.txt"
        frozen.write_text("\n".join(re.findall(r"^\S+==\S+$", printed, re.M)), encoding="utf-8")
        session.install("--constraints", frozen, *options, *installed)
    # The script, because `python -m pytest` would import the package of this folder.
    session.run("pytest", *session.posargs, env={"PYTHONPATH": ""})


def requirements(section: str, key: str) -> list[str]:
    """Returns a list of requirements of setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = parser[section][key].splitlines()
    return [line for line in lines if line]
