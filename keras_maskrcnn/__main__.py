"""Makes `python -m keras_maskrcnn COMMAND` work like `keras-maskrcnn COMMAND`."""

import sys

from keras_maskrcnn import cli

if __name__ == "__main__":
    sys.exit(cli.main())
