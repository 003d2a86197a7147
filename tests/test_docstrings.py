"""Docstrings name the parameters that there are."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "keras_maskrcnn").rglob("*.py"))


def documented(docstring):
    """The names of the section `Args:` of a docstring; None if it has none."""
    section = re.search(r"^Args:\n((?:(?: .*)?\n)*)", f"{docstring}\n", re.MULTILINE)
    if section is None:
        return None
    names = re.findall(r"^ {4}([*\w][*\w, ]*):", section[1], re.MULTILINE)
    return [name.strip().lstrip("*") for line in names for name in line.split(",")]


def functions(tree):
    """(name, docstring, parameters) of every function that says what its arguments are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            if init and ast.get_docstring(node):
                yield node.name, ast.get_docstring(node), init[0].args
        elif isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            yield node.name, ast.get_docstring(node), node.args


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arguments_are_those_of_the_signature(path):
    for name, docstring, args in functions(ast.parse(path.read_text(encoding="utf-8"))):
        names = documented(docstring)
        if names is None:
            continue
        parameters = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
        parameters += [a.arg for a in (args.vararg, args.kwarg) if a]
        unknown = set(names) - set(parameters)
        assert not unknown or args.kwarg, f"{path.name}: {name} has no {sorted(unknown)}"
        missing = set(parameters) - set(names) - {"self", "cls", "training", "kwargs", "args"}
        assert name.startswith("_") or not missing, (
            f"{path.name}: {name} does not say what {sorted(missing)} is"
        )
