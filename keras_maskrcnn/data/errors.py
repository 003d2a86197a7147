"""The error of all readers of data."""


class DataError(ValueError):
    """Input that cannot be used, in one line that names the file, the annotation and the field.

    Attributes:
        kind: str. One or more words by which like errors are counted; empty if none count them.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        # One line whatever a file name or a decoder's message holds.
        super().__init__(message.replace("\r", "\\r").replace("\n", "\\n"))
        self.kind = kind
