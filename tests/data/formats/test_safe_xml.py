"""data/formats/safe_xml.py: xml from anywhere expands nothing."""

import pytest

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats.safe_xml import read_xml

BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused(tmp_path, encoding):
    (tmp_path / "a.xml").write_bytes(BOMB.encode(encoding))
    with pytest.raises(DataError, match="a.xml: a document type is not allowed"):
        read_xml(tmp_path / "a.xml")


@pytest.mark.parametrize("text", ["", "<a>", "<a/><b/>", "<a>&b;</a>", "\0"])
def test_what_is_no_xml_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match="a.xml: cannot be read as xml.* Received: "):
        read_xml(tmp_path / "a.xml")


def test_a_large_file_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<a>1234</a>")
    assert read_xml(tmp_path / "a.xml", 11).text == "1234"
    with pytest.raises(DataError, match="larger than 10 bytes"):
        read_xml(tmp_path / "a.xml", 10)
