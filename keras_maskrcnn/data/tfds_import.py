"""Says in one line why tensorflow_datasets cannot be imported."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns any error of the block, which imports tensorflow_datasets, into an ImportError.

    TFDS has files that protobuf's compiler made. They refuse a protobuf that is older than the
    compiler, with an error that is no ImportError. Colab has such a pair: protobuf 5.29.6 and
    tensorflow-metadata 1.21.0.

    Raises:
        ImportError: for any error. The message is one line and names the remedy.
    """
    try:
        yield
    except Exception as error:
        cause = " ".join(str(error).split())
        remedy = ""
        if "tensorflow_metadata" in cause:
            remedy = ' Remedy: pip install "tensorflow-metadata<1.18", then restart Python.'
        raise ImportError(f"tensorflow_datasets cannot be imported: {cause}{remedy}") from error
