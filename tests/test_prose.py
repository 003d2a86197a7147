"""Sentences are short: in the pages, and in the docstrings and comments of the package.

python tests/test_prose.py   # words per sentence: median, 95th percentile, the longest sentences
"""

import ast
import io
import pathlib
import re
import statistics
import tokenize

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The code of conduct is a text of others, and the map quotes the paper's sentences.
OTHERS = {"CODE_OF_CONDUCT.md", "paper_map.md"}
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name not in OTHERS
]
MODULES = sorted((ROOT / "keras_maskrcnn").rglob("*.py"))


def page_blocks(text):
    """Yields the paragraphs and list items of a page, without code, tables and headings."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(#|\s*\||    |!\[).*$", "", text, flags=re.MULTILINE)
    yield from re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.) ", text, flags=re.MULTILINE)


def module_blocks(source):
    """Yields the paragraphs, list items and arguments of docstrings, and the comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            yield from re.split(r"\n\s*\n|^ *[\w*, ]+:(?=\s)|^ *- ", text, flags=re.MULTILINE)
    comment, last = [], 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:  # a new comment, not its next line
                yield " ".join(comment)
                comment = []
            comment.append(token.string.strip("# "))
            last = token.start[0]
    yield " ".join(comment)


def sentences(blocks):
    """The sentences of more than three words; a link counts as its text."""
    for block in blocks:
        block = re.sub(r"\]\([^)]*\)", "]", " ".join(block.split()))
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z`\[*\"])", block):
            if len(sentence.split()) > 3:
                yield sentence


def read(paths, blocks):
    """All sentences of these files."""
    return [s for path in paths for s in sentences(blocks(path.read_text(encoding="utf-8")))]


def lengths(found):
    """(median, 95th percentile) of the words per sentence."""
    words = [len(sentence.split()) for sentence in found]
    return statistics.median(words), statistics.quantiles(words, n=20)[-1]


@pytest.mark.parametrize(("paths", "blocks"), [(PAGES, page_blocks), (MODULES, module_blocks)])
def test_sentences_are_short(paths, blocks):
    median, percentile = lengths(read(paths, blocks))
    assert median <= 14 and percentile <= 25


def test_sentences_are_found():
    page = "# Title\n\nOne two three four. Five six seven [eight nine](a.md) ten.\n\n- a b c d e\n"
    assert list(sentences(page_blocks(page))) == [
        "One two three four.",
        "Five six seven [eight nine] ten.",
        "a b c d e",
    ]
    module = '"""Does this and that.\n\nArgs:\n    a: int. Number of boxes kept.\n"""\n'
    module += "# Why it is\n# so here."
    assert list(sentences(module_blocks(module))) == [
        "Does this and that.",
        "Number of boxes kept.",
        "Why it is so here.",
    ]


if __name__ == "__main__":
    for name, paths, blocks in (
        ("pages", PAGES, page_blocks),
        ("docstrings and comments", MODULES, module_blocks),
    ):
        found = read(paths, blocks)
        print(name, len(found), *lengths(found))
        for sentence in sorted(found, key=lambda s: -len(s.split()))[:10]:
            print(f"  {len(sentence.split())}: {sentence}")
