"""Makes --quiet work while TensorFlow is imported, because TensorFlow then writes to stderr."""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence


def is_asked(argv: Sequence[str]) -> bool:
    """Returns whether a list of flags contains --quiet."""
    return any(re.fullmatch("--?quiet(=(true|t|1))?", flag, re.IGNORECASE) for flag in argv)


@contextlib.contextmanager
def while_importing() -> Iterator[None]:
    """Drops all output to stderr in the block, if this process is the command with --quiet.

    TensorFlow's C++ code writes there before a setting could stop it. Errors are exceptions, so
    none is lost.
    """
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    module = program == "-m" and "keras_maskrcnn" in sys.orig_argv
    if not ((module or program == "keras-maskrcnn") and is_asked(sys.argv)):
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # after the import: only fatal errors
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def silence() -> None:
    """Drops warnings and logs of this process, also those of libraries."""
    from absl import logging as absl_logging

    warnings.simplefilter("ignore")
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
