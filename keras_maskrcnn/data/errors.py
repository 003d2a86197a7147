"""The error that all readers of data raise."""


class DataError(ValueError):
    """Input data cannot be used. The message is one line that names file, annotation and field.

    Attributes:
        kind: str. A few words by which the dataset doctor counts errors; empty if it does not.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        # File names and messages of decoders may contain line breaks.
        super().__init__(message.replace("\r", "\\r").replace("\n", "\\n"))
        self.kind = kind


def check_on_error(on_error: str) -> None:
    """Raises ValueError if `on_error` is neither "raise" nor "skip"."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'. Received: on_error={on_error!r}.")
