"""Predicts on an image tile by tile, in memory that does not depend on the image's size."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from keras_maskrcnn import files
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.data.images import log_remarks
from keras_maskrcnn.data.sources import reading
from keras_maskrcnn.data.tile_grid import tile_and_overlap, tile_blocks, tile_windows
from keras_maskrcnn.detections import check_prediction
from keras_maskrcnn.logger import logger
from keras_maskrcnn.progress import Progress
from keras_maskrcnn.tiling.finishing import drop_overlaps, write_objects
from keras_maskrcnn.tiling.large_detections import LargeDetections
from keras_maskrcnn.tiling.pieces import pieces_of_tile
from keras_maskrcnn.tiling.store import TileStore
from keras_maskrcnn.typing import OnError, Orientation, Path, Size
from keras_maskrcnn.writers.record import ImageRecord

SEAMS = ("join", "own")
"""What happens to an object that no tile sees whole: its parts are joined, or it is left out."""


def predict_large(
    model: Any,
    source: Any,
    *,
    tile: int | Size = 1024,
    overlap: int | Size | None = None,
    seams: Literal["join", "own"] = "join",
    scale: float | None = None,
    microns_per_pixel: float | None = None,
    batch_size: int = 1,
    score_threshold: float = 0.0,
    max_mask_overlap: float = 1.0,
    output: Path | None = None,
    small: Literal["raise", "whole"] = "raise",
    on_error: OnError = "raise",
    orientation: Orientation = "ignore",
    verbose: int = 1,
) -> LargeDetections:
    """Runs the model on an image of any size, tile by tile, and reports each object once.

    The model resizes a tile as it resizes any image of this size. Objects should be as large in a
    tile as they were in training images of the tile's size; `scale` helps.

    `tiling.finishing.write_objects` has the rules by which each object is found once. Memory is
    that of a batch of tiles and of the largest object; all else is in a file.

    Args:
        model: MaskRCNN with an RPN and heads, or `runtime.ExportedModel`.
        source: path of an image file, array, or anything else that `data.sources.open_source`
            takes, with the channels and the dtype of the config. A `Source` stays open.
        tile: int, or (height, width). Sides of a tile in pixels, as the model sees them. If a side
            of the image is shorter, there is one tile along it.
        overlap: int, or (height, width). Pixels that neighbor tiles share at least. Default: a
            quarter of the tile. It should be at least as large as most objects.
        seams: "join": objects that are larger than the overlap are joined from their parts. "own":
            parts are never joined. Each object belongs to the tile whose block holds its center,
            which is right if no object is larger than the overlap.
        scale: float. Factor by which the image is resized before it is cut into tiles. Default: 1.
        microns_per_pixel: float. Resolution of the images that the model was trained on. The image
            is resized to it, if its file tells its own. Not together with `scale`.
        batch_size: int. Tiles per call of the model.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        max_mask_overlap: float in [0, 1]. As in `overlaps.without_overlaps`; 1 keeps all.
        output: path of a file for the results of finished tiles. If it exists, from a run that was
            stopped, its tiles are not computed again. It stays afterwards. An array is known by
            its shape and by three of its tiles. None: a temporary file.
        small: what to do with an image that is smaller than a tile in both sides. "raise" refuses
            it, "whole" makes it one tile.
        on_error: "raise" stops at a tile that cannot be read. "skip" leaves it out, and names it in
            `left_out` of the result. A later run with the same `output` tries it again.
        orientation: as in `data.sources.open_source`. A `Source` and an array stay as they are.
        verbose: int. 0: silent, 1: a line with the time left, 2: a line every half minute.

    Returns:
        LargeDetections, a mapping like the result of `predict_image`, in pixels of the image.

    Raises:
        ValueError: if an argument is not as above, the tile is larger than the image, or `output`
            is the file of another run.
        DataError: if the image or a tile cannot be read.
    """
    check_prediction(model, score_threshold, max_mask_overlap)
    _check(seams, batch_size, small)
    check_on_error(on_error)
    with contextlib.ExitStack() as failed:
        kind = model.config.in_channels, model.config.image_dtype
        with reading(source, *kind, orientation=orientation) as opened:
            record = _record(opened)
            seen, windows, blocks = _grid(
                opened, tile, overlap, _scale(opened, scale, microns_per_pixel), small
            )
            size, run = (opened.height, opened.width), {}
            if output is not None:
                run = _describe(model, opened, seen, windows, score_threshold)
            store = failed.enter_context(contextlib.closing(TileStore(output, run)))
            tiles = _Tiles(opened, windows, seen, on_error == "skip", store)
            progress = Progress(len(windows), "tile", verbose, store.count())
            for batch in tiles.batches(batch_size):
                _predict(model, batch, windows, size, store, score_threshold)
                progress.update(store.count())
            log_remarks({remark: [opened.name] for remark in opened.remarks()})
        lost = write_objects(store, windows, blocks, size, seams)
        if max_mask_overlap < 1:
            drop_overlaps(store, size, max_mask_overlap)
        store.unlock()
        _warn(store, model.config, len(windows), lost)
        left_out = {tuple(windows[i].tolist()): error for i, error in store.left_out().items()}
        with_masks, names = model.config.task == "masks", model.config.class_names
        found = LargeDetections(store, with_masks, names, left_out, record)
        failed.pop_all()
    return found


def _record(source):
    """Returns what writers need to know about an image."""
    return ImageRecord(
        os.path.basename(source.name),
        source.height,
        source.width,
        source.name if os.path.exists(source.name) else None,
        source.crs,
        source.transform,
        source.microns_per_pixel,
        source.channels,
        source.image_dtype,
    )


def _check(seams, batch_size, small):
    if seams not in SEAMS:
        raise ValueError(f"seams must be one of {', '.join(SEAMS)}. Received: seams={seams!r}.")
    if small not in ("raise", "whole"):
        raise ValueError(f"small must be 'raise' or 'whole'. Received: small={small!r}.")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"batch_size must be a whole number of at least 1. Received: batch_size={batch_size!r}."
        )


def _scale(source, scale, microns_per_pixel):
    """Returns the factor by which the image is resized."""
    for name, value in (("scale", scale), ("microns_per_pixel", microns_per_pixel)):
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"{name} must be a number above 0. Received: {name}={value!r}.")
    if microns_per_pixel is None:
        return 1.0 if scale is None else scale
    if scale is not None:
        raise ValueError(
            "give scale or microns_per_pixel, not both. Received: "
            f"scale={scale!r}, microns_per_pixel={microns_per_pixel!r}."
        )
    if source.microns_per_pixel is None:
        raise ValueError(
            f"{source.name} does not tell its microns per pixel; give scale instead. Received: "
            f"microns_per_pixel={microns_per_pixel!r}."
        )
    return source.microns_per_pixel / microns_per_pixel


def _grid(source, tile, overlap, scale, small):
    """Returns the (height, width) that the model sees, and windows and blocks in the image."""
    seen, shared = map(np.array, tile_and_overlap(tile, overlap))
    size = np.array([source.height, source.width])
    window = np.round(seen / scale)
    received = (
        f"Received: tile={tuple(seen.tolist())}, scale={scale:g}, size={tuple(size.tolist())}."
    )
    if window.min() < 2:
        raise ValueError(f"a tile must be at least 2 x 2 pixels of the image. {received}")
    if size.min() < 2:
        raise DataError(f"{source.name}: the image must be at least 2 x 2 pixels. {received}")
    shorter = size < window
    if small == "raise" and shorter.any() and (size <= window).all():
        raise DataError(
            f"{source.name}: tile must not be larger than the image; predict_image takes small "
            f"images. {received}"
        )
    window = np.minimum(window, size).astype(int)
    seen = np.where(shorter, np.maximum(1, np.round(size * scale)), seen).astype(int)
    shared = np.clip(np.round(shared / scale), 1, window - 1).astype(int)
    arguments = *size.tolist(), tuple(window.tolist()), tuple(shared.tolist())
    return tuple(seen.tolist()), tile_windows(*arguments), tile_blocks(*arguments)


def _describe(model, source, seen, windows, score_threshold):
    """Returns what must be the same in all runs that share a file of finished tiles."""
    described = {
        "image": os.path.basename(source.name),
        "height": source.height,
        "width": source.width,
        "tile": list(seen),
        "windows": hashlib.sha256(windows.tobytes()).hexdigest(),
        "score_threshold": score_threshold,
        "model": _fingerprint(model),
        # Only if it matters: files of runs from before this entry go on.
        **({"orientation": source.tag} if source.orientation == "apply" else {}),
        **{f"config.{name}": value for name, value in dataclasses.asdict(model.config).items()},
    }
    if os.path.isfile(source.name):
        stat = os.stat(source.name)
        described.update(bytes=stat.st_size, modified=stat.st_mtime_ns)
    else:
        described["pixels"] = _sample(source, windows)
    return described


def _sample(source, windows):
    """Returns a checksum of three tiles: enough to know another array, and quick."""
    digest = hashlib.sha256()
    for index in (0, len(windows) // 2, len(windows) - 1):
        try:
            digest.update(source.read(*windows[index].tolist()).tobytes())
        except DataError:  # it is told, or left out, when it is its turn
            digest.update(b"broken")
    return digest.hexdigest()


def _fingerprint(model):
    """Returns a checksum of a model's weights, or of the file of an exported model."""
    digest = hashlib.sha256()
    if hasattr(model, "get_weights"):
        for array in model.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
    else:
        for path in _files_of(model.path):
            digest.update(str(files.checksum(path)).encode())
    return digest.hexdigest()


def _files_of(path):
    """Returns the files of an exported model: a folder's, or those with its name and any ending."""
    if os.path.isdir(path):
        found = [os.path.join(folder, x) for folder, _, inside in os.walk(path) for x in inside]
    else:
        folder, name = os.path.split(os.path.splitext(path)[0])
        inside = os.listdir(folder or ".")
        found = [os.path.join(folder, x) for x in inside if os.path.splitext(x)[0] == name]
    return sorted(filter(os.path.isfile, found))


class _Tiles:
    """Reads the tiles that are not finished, one batch ahead of the model.

    Args:
        source: Source.
        windows: (n, 4) int. All tiles.
        seen: (height, width) of a tile as the model gets it.
        skip: bool. Whether a tile that cannot be read is left out.
        store: TileStore.
    """

    def __init__(self, source, windows, seen, skip, store):
        self._source, self._windows, self._seen = source, windows.tolist(), seen
        self._skip, self._store = skip, store

    def batches(self, batch_size: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yields the numbers of some tiles, and their pixels (B, h, w, channels)."""
        finished = self._store.finished()
        left = [tile for tile in range(len(self._windows)) if tile not in finished]
        batches = [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
        with concurrent.futures.ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, batches[0]) if batches else None
            for following in [*batches[1:], None]:
                if ahead is None:
                    return
                tiles, images = ahead.result()
                ahead = reader.submit(self._read, following) if following else None
                if tiles:
                    yield tiles, np.stack(images)

    def _read(self, tiles):
        read, images = [], []
        for tile in tiles:
            try:
                images.append(self._source.read(*self._windows[tile], size=self._seen))
                read.append(tile)
            except DataError as error:
                if not self._skip:
                    raise
                logger().warning("left out: %s", error)
                self._store.leave_out(tile, str(error))
        return read, images


def _predict(model, batch, windows, size, store, score_threshold):
    """Runs the model on a batch of tiles, and keeps what it finds."""
    tiles, images = batch
    outputs = model.predict_on_batch(images)
    outputs = {name: np.asarray(value) for name, value in outputs.items()}
    config = model.config
    for row, tile in enumerate(tiles):
        seen = images.shape[1:3]
        pieces = pieces_of_tile(
            outputs, row, seen, windows[tile], size, score_threshold, config.mask_paste
        )
        full = int(outputs["num_detections"][row]) >= config.detections_per_image
        store.add(tile, pieces, full)


def _warn(store, config, count, lost):
    """Says what a user should know about the result."""
    if full := store.full_tiles():
        logger().warning(
            "%d of %d tiles have as many objects as the model gives, %d; raise detections_per_image"
            " or take smaller tiles.",
            full,
            count,
            config.detections_per_image,
        )
    if lost:
        logger().warning(
            '%d objects are larger than the overlap and are left out; seams="join" joins them.',
            lost,
        )
