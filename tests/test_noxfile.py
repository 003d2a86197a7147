"""noxfile.py, setup.cfg, the pins and docs/versions.md name the same versions."""

import ast
import itertools
import pathlib
import re

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
PINS = sorted((ROOT / "tests" / "pins").glob("*.txt"))


def pinned(path):
    """The versions of a file of pins, by name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(n): v for n, _, v in (x.partition("==") for x in lines if x[:1] != "#")
    }


def sessions():
    """Yields (name, Python) of each session."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", ()):
            yield node.name, ast.literal_eval(decorator.keywords[0].value)


def rows():
    """The cells of the table of results, by session."""
    lines = [[c.strip() for c in x.strip("|").split("|")] for x in PAGE.splitlines() if "| `" in x]
    return {name.strip("`"): cells for name, *cells in lines}


def test_each_session_has_a_row_with_its_python():
    table = rows()
    assert dict(sessions()).keys() == table.keys()
    for name, python in sessions():
        assert table[name][0].startswith(f"{python}."), name


def test_the_weekly_workflow_runs_each_session():
    text = (ROOT / ".github" / "workflows" / "versions.yml").read_text(encoding="utf-8")
    (matrix,) = re.findall(r"session: \[(.*)\]", text)
    assert matrix.split(", ") == [name for name, _ in sessions()]


def test_sessions_cover_the_pythons_of_setup_cfg(metadata):
    named = re.findall(r"Python :: (3\.\d+)", metadata["metadata"]["classifiers"])
    assert {python for _, python in sessions()} == set(named)


def test_nothing_failed_except_with_prereleases():
    for name, (*_, passed, failed, skipped, minutes) in rows().items():
        assert int(passed) > 3000 and int(skipped) < 100 and float(minutes) > 0, name
        assert int(failed) == 0 or name == "prerelease", name


def test_the_row_lowest_has_the_bounds_of_setup_cfg(requirements):
    asked = {one.name: one.specifier for one in requirements[""]}
    _, *versions = rows()["lowest"]
    for name, version in zip(("tensorflow", "keras", "numpy"), versions[:3], strict=True):
        assert Version(version) in [Version(one.version) for one in asked[name]], name


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_pins_are_within_the_bounds_and_in_the_table(path, requirements):
    versions = pinned(path)
    for requirement in itertools.chain(*requirements.values()):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is None or version in requirement.specifier, requirement
    _, *row = rows()[path.stem]
    assert row[:3] == [versions[name] for name in ("tensorflow", "keras", "numpy")]
