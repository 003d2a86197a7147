"""Every public signature has types, and mypy finds no fault."""

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "keras_maskrcnn").rglob("*.py"))


def public_functions(tree, prefix=""):
    """Yields (name, function) of the functions of a module and of its public classes.

    Dunder methods are public. Functions inside of functions are not.
    """
    for node in tree.body:
        name = getattr(node, "name", "")
        if name.startswith("_") and not (name.startswith("__") and prefix):
            continue
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node, f"{prefix}{name}.")
        elif isinstance(node, ast.FunctionDef):
            yield prefix + name, node


def without_type(function):
    """Returns the parameters without a type, including `*args`, `**kwargs` and "return"."""
    args = function.args
    parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    found = [x.arg for x in parameters if x is not None and x.annotation is None]
    found = [name for name in found if name not in ("self", "cls")]
    return found + (["return"] if function.returns is None else [])


def test_a_missing_type_is_seen():
    source = """
class Public:
    def __init__(self, a: int, *args, **kwargs: int) -> None: ...
    def method(self, b): ...
    def _private(self, c): ...
class _Private:
    def method(self, d): ...
"""
    found = {name: without_type(f) for name, f in public_functions(ast.parse(source))}
    assert found == {"Public.__init__": ["args"], "Public.method": ["b", "return"]}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_public_signatures_have_types(path):
    functions = public_functions(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    missing = {name: without_type(function) for name, function in functions}
    assert not {name: found for name, found in missing.items() if found}


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.2.0" or not hasattr(flags.Flag, "__class_getitem__"),
    reason="the types in NumPy before 2.2 and absl before 2.0 are others",
)
def test_mypy_finds_nothing(tmp_path):
    command = [sys.executable, "-m", "mypy", "--cache-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
