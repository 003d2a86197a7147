"""Reads xml files that nobody vouches for."""

from xml.etree import ElementTree

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import MAX_TEXT, read_text
from keras_maskrcnn.typing import Path


def read_xml(path: Path, max_bytes: int = MAX_TEXT) -> ElementTree.Element:
    """Reads an xml file without a document type, so without entities that expand.

    Args:
        path: path of the file.
        max_bytes: int. A larger file is refused.

    Returns:
        The root element.

    Raises:
        DataError: if the file is missing, broken or too large, or has a document type.
    """
    text = read_text(path, max_bytes)
    if "<!DOCTYPE" in text:  # it could define entities, which can expand without limit
        raise DataError(f"{path}: a document type is not allowed. Received: <!DOCTYPE ...>.")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as xml. Received: {error}.") from error
