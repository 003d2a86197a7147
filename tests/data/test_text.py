"""data/text.py: text files and paths of other systems."""

import logging

import pytest

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import decode, local_path, read_text

TEXT = '{"name": "zwölf"}\r\n'


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"],
)
def test_text_is_read_in_every_encoding(encoding, caplog):
    with caplog.at_level(logging.WARNING):
        assert decode(TEXT.encode(encoding), "a.json") == TEXT
    assert ("a.json: not UTF-8" in caplog.text) == (encoding in ("cp1252", "latin-1"))


def test_big_endian_utf_16_with_its_mark_is_read():
    assert decode(b"\xfe\xff" + TEXT.encode("utf-16-be"), "a") == TEXT


def test_what_windows_1252_lacks_is_latin_1():
    assert decode(b"a\xf6\x81", "a") == "a\xf6\x81"


@pytest.mark.parametrize("data", [b"\xff\xfea", b"\xef\xbb\xbf\xff", b"JFIF\x00\x10\xff\xd8"])
def test_what_is_no_text_is_refused(data):
    with pytest.raises(ValueError):
        decode(data, "a.txt")


def test_backslashes_are_separators_unless_a_file_has_that_name(tmp_path):
    assert local_path("a\\b\\c.jpg", tmp_path) == "a/b/c.jpg"
    assert local_path("a/b.jpg", tmp_path) == "a/b.jpg"
    (tmp_path / "a\\b.jpg").touch()
    assert local_path("a\\b.jpg", tmp_path) == "a\\b.jpg"
    assert local_path("a\\\0", tmp_path) == "a\\\0"


def test_text_is_limited(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    assert read_text(tmp_path / "a.txt", max_bytes=3) == "abc"
    (tmp_path / "a.txt").write_text("abcd")
    with pytest.raises(DataError, match="a.txt: the file is larger than 3 bytes"):
        read_text(tmp_path / "a.txt", max_bytes=3)
