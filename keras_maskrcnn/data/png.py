"""Writes PNG files with 8 or 16 bits per band, which Pillow does for gray only."""

import struct
import zlib

import numpy as np

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # gray, gray and alpha, RGB, RGBA
_UP = 2  # the filter: bytes minus those of the row above


def fits(channels: int, dtype: str) -> bool:
    """Whether a PNG can hold images of these bands and this dtype as gray, RGB or RGBA."""
    return channels in (1, 3, 4) and dtype in ("uint8", "uint16")


def encode(pixels: np.ndarray, level: int = 6) -> bytes:
    """Encodes an image without loss. The same pixels give the same bytes.

    Args:
        pixels: (H, W, 1 to 4) uint8 or uint16.
        level: int in 0..9. Effort of the compression.

    Returns:
        bytes of a PNG file.
    """
    height, width, bands = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = rows.view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), _UP, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOR_TYPES[bands], 0, 0, 0)
    packed = zlib.compress(filtered.tobytes(), level)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
