"""What --quiet has to do before TensorFlow is imported, which writes to stderr while it is."""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence


def is_asked(argv: Sequence[str]) -> bool:
    """Whether flags, a list of str, ask for --quiet."""
    return any(re.fullmatch("--?quiet(=(true|t|1))?", flag, re.IGNORECASE) for flag in argv)


@contextlib.contextmanager
def while_importing() -> Iterator[None]:
    """Drops what is written to stderr inside, if this process is the command with --quiet.

    TensorFlow's C++ writes there before anybody could tell it not to. Errors are exceptions.
    """
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    module = program == "-m" and "keras_maskrcnn" in sys.orig_argv
    if not ((module or program == "keras-maskrcnn") and is_asked(sys.argv)):
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later: fatal errors only
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
    """Drops the warnings and logs of this process, ours and those of the libraries."""
    from absl import logging as absl_logging

    warnings.simplefilter("ignore")
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
