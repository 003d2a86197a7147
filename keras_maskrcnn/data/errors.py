"""The error of all readers of data, and what becomes of it."""


class DataError(ValueError):
    """Input that cannot be used, in one line that names the file, the annotation and the field.

    Attributes:
        kind: str. One or more words by which like errors are counted; empty if none count them.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        # One line whatever a file name or a decoder's message holds.
        super().__init__(message.replace("\r", "\\r").replace("\n", "\\n"))
        self.kind = kind


def check_on_error(on_error: str) -> None:
    """Raises ValueError if `on_error` is neither "raise" nor "skip"."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'. Received: on_error={on_error!r}.")
