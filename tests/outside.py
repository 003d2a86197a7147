"""Runs commands as outside of this clone: for tests of what users install."""

import os
import pathlib
import shutil
import subprocess

import keras_maskrcnn

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The folder that holds the tested package: this clone, or site-packages. For PYTHONPATH.
IMPORTED_FROM = pathlib.Path(keras_maskrcnn.__file__).parents[1]


def run(*command, environment=None, **options):
    """Runs a command, which must succeed, and returns what it prints.

    Without PYTHONPATH, which could hide that a wheel lacks a file, or show pip another copy.

    Args:
        command: the program and its arguments.
        environment: dict of further environment variables.
        options: more arguments of `subprocess.run`.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    inherited |= {"TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    done = subprocess.run(command, env=inherited, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_tree(folder):
    """Copies this clone into a new folder, without what was built in it."""
    junk = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "venv")
    shutil.copytree(ROOT, folder, ignore=junk)
