"""noxfile.py, setup.cfg, the pins and docs/versions.md name the same versions."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
PINS = sorted((ROOT / "tests" / "pins").glob("*.txt"))


def normal(name):
    """The name of a package as an index compares it."""
    return re.sub("[-_.]+", "-", name).lower()


def pinned(path):
    """The versions of a file of pins, by name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {normal(n): v for n, _, v in (x.partition("==") for x in lines if x[:1] != "#")}


def requirements(metadata):
    """Yields (name, lower bound) of the requirements in setup.cfg, the extras included."""
    blocks = [metadata["options"]["install_requires"]]
    blocks += metadata["options.extras_require"].values()
    for line in "\n".join(blocks).split():
        if found := re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line):
            yield found.groups()


def sessions():
    """Yields (name as nox prints it, Python) of each session."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", ()):
            python = ast.literal_eval(decorator.keywords[0].value)
            if isinstance(python, str):
                yield node.name, python
            else:
                yield from ((f"{node.name}-{x}", x) for x in python)


def rows():
    """The cells of the table of results, by session."""
    lines = [[c.strip() for c in x.strip("|").split("|")] for x in PAGE.splitlines() if "| `" in x]
    return {name.strip("`"): cells for name, *cells in lines}


def as_numbers(version):
    """A release as a tuple, to compare."""
    return tuple(int(x) for x in re.match(r"[\d.]*\d", version)[0].split("."))


def test_each_session_has_a_row_with_its_python():
    table = rows()
    assert dict(sessions()).keys() == table.keys()
    for name, python in sessions():
        assert table[name][0].startswith(f"{python}."), name


def test_the_weekly_workflow_runs_each_session():
    text = (ROOT / ".github" / "workflows" / "versions.yml").read_text(encoding="utf-8")
    (matrix,) = re.findall(r"session: \[(.*)\]", text)
    assert matrix.split(", ") == [name for name, _ in sessions()]


def test_the_row_lowest_has_the_bounds_of_setup_cfg(metadata):
    bounds = dict(requirements(metadata))
    _, *versions = rows()["lowest"]
    for name, version in zip(("tensorflow", "keras", "numpy"), versions[:3], strict=True):
        assert as_numbers(version)[: bounds[name].count(".") + 1] == as_numbers(bounds[name])


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_pins_are_within_the_bounds_and_in_the_table(path, metadata):
    versions = pinned(path)
    for name, bound in requirements(metadata):
        if name in versions:
            assert as_numbers(versions[name]) >= as_numbers(bound), name
    _, *row = rows()[path.stem]
    assert row[:3] == [versions[name] for name in ("tensorflow", "keras", "numpy")]
