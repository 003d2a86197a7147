"""Names the extra if Apache Beam is missing."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Adds the name of the extra to an ImportError of the block, which imports apache_beam.

    Raises:
        ImportError: if Beam is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"Beam needs the extra beam: pip install keras3-maskrcnn[beam]. Received: {error}."
        ) from error
