"""The Python and shell blocks of our pages run as written, in the order of the page.

    python -m pytest -m slow tests/test_doc_blocks.py -rs -k training

Blocks of a page share one namespace and one working directory, see doc_standins.py. A comment
`<!--- skip: next "reason" -->` before a block says why it does not run; `-rs` prints the reasons.
Blocks that are marked `py` are code of other libraries, which are not installed here, and
blocks that are marked `text` are output.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import doc_standins
import pytest
import sybil
from sybil.parsers import markdown

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "examples").glob("**/*.md"),
    ]
)


def run_shell(example):
    """Runs a shell block with bash, which stops at the first command that fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


PARSERS = [
    markdown.PythonCodeBlockParser(),
    markdown.CodeBlockParser(language="sh", evaluator=run_shell),
    markdown.SkipParser(),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a reader of our pages has: two data sets, a photo, checkpoints, the command."""
    folder = tmp_path_factory.mktemp("reader")
    doc_standins.write_folder(folder)
    command = folder / "bin" / "keras-maskrcnn"
    command.parent.mkdir()
    script = ROOT / "tests" / "doc_standins.py"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture
def workspace(folder, tmp_path, monkeypatch):
    """A copy of that folder for one page, as the working directory."""
    shutil.copytree(folder, tmp_path / "page", symlinks=True)
    monkeypatch.chdir(tmp_path / "page")
    doc_standins.install(monkeypatch.setattr, monkeypatch.setitem)
    path = [str(tmp_path / "page" / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    return tmp_path / "page"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_page_are_python_and_shell(page):
    for example in sybil.Sybil(PARSERS).parse(page):
        if example.region.evaluator is run_shell:
            subprocess.run(["bash", "-n", "-c", example.parsed], check=True)
        elif not isinstance(example.parsed, tuple):
            compile(example.parsed, page.name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_page_run(page, workspace, subtests):
    document = sybil.Sybil(PARSERS).parse(page)
    document.namespace["__name__"] = "reader"
    failed = False
    for example in document:
        if isinstance(example.parsed, tuple):  # a skip directive, about the next block
            example.evaluate()
            continue
        with subtests.test(f"line {example.line}"):
            # Blocks build on each other: after one that failed, others would say nothing new.
            if failed:
                pytest.skip(f"{page.name}, line {example.line}: a block above failed")
            try:
                example.evaluate()
            except unittest.SkipTest as reason:
                pytest.skip(f"{page.name}, line {example.line}: {reason}")
            except BaseException:
                failed = True
                raise
