"""A data set of tiles whose pixels are read from big images when they are needed."""

import collections
import dataclasses
import os
import threading
from typing import Any, Self

import numpy as np
from absl import logging

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import CocoDataset, coco_dict, source_of
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.data.images import size_error
from keras_maskrcnn.data.items import ItemsDataset
from keras_maskrcnn.data.pixels import RGB
from keras_maskrcnn.data.sources import Source, open_source
from keras_maskrcnn.data.sources.pillow_source import PillowSource
from keras_maskrcnn.data.tile_cutting import MIN_SHARE, TileCounts, cut_into_tiles
from keras_maskrcnn.typing import OnError, Path, Size

_OPEN_BYTES = 2**30  # limit of what open sources hold: 8 TIFFs, or 2 JPEGs of 12,000 x 12,000
_BYTES_OF_A_TIFF = 2**27  # see `TiffSource`


class OpenSources:
    """Big images that stay open between reads, because opening costs more than a tile.

    Several threads may read. A copy in another process opens the files for itself.
    """

    def __init__(self) -> None:
        self._entries: collections.OrderedDict[str, _Entry] = collections.OrderedDict()
        self._turn = threading.Lock()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def read(self, path: str, size: Size, window: np.ndarray, reading: Reading = RGB) -> np.ndarray:
        """Reads a window.

        Args:
            path: str. The file of the big image.
            size: (height, width) that the json gives the big image.
            window: (4,) int [top, left, height, width].
            reading: `data.bands.Reading`. The same at every call.

        Returns:
            (height, width, channels) of `image_dtype`; by default (height, width, 3) uint8 RGB.

        Raises:
            DataError: if the file cannot be read, or has another size.
        """
        with self._turn:
            entry = self._entries.pop(path, None) or _Entry(path, size, reading)
            self._entries[path] = entry
            entry.readers += 1
            for other in self._superfluous():
                self._entries.pop(other).retire()
        try:
            return entry.read(window)
        finally:
            with self._turn:
                entry.readers -= 1
                if entry.retired:
                    entry.retire()

    def close(self) -> None:
        """Closes all files."""
        with self._turn:
            while self._entries:
                self._entries.popitem()[1].retire()

    def _superfluous(self):
        """Returns the paths of the sources that were not used for the longest time."""
        paths = list(reversed(self._entries))
        held = np.cumsum([self._entries[path].size for path in paths])
        return [p for p, total in zip(paths[1:], held[1:], strict=True) if total > _OPEN_BYTES]


class _Entry:
    """A source that is opened at the first read, and closed when nobody reads any more."""

    def __init__(self, path, size, reading):
        self.path, self._sides, self._reading = path, size, reading
        self.readers, self.retired = 0, False
        self.size = _BYTES_OF_A_TIFF
        self._source: Source | None = None
        self._turn = threading.Lock()

    def read(self, window):
        with self._turn:
            if self._source is None:
                source = open_big_image(self.path, self._sides, self._reading)
                if isinstance(source, PillowSource):
                    pixel = self._reading.channels * np.dtype(self._reading.image_dtype).itemsize
                    self.size = pixel * source.height * source.width
                self._source = source
        return self._source.read(*window.tolist())

    def retire(self):
        """Closes the source, unless it is being read; then the last reader calls this again."""
        self.retired = True
        if not self.readers and self._source is not None:
            self._source.close()
            self._source = None


@dataclasses.dataclass(frozen=True, eq=False)
class TiledDataset(CocoDataset):
    """A `CocoDataset` whose images are tiles of big images. `tiled` makes it.

    `load_image` and `load` read only the tile. Up to 1 GiB of open files stays in memory. All
    attributes are about tiles; `annotations` is the content of a COCO json about them.

    Attributes:
        sources: tuple of I file names, relative to `images`: the big image of each tile.
        source_sizes: tuple of I times (height, width) of these.
        windows: (I, 4) int64 [top, left, height, width] of each tile in its big image.
        tile_counts: `TileCounts`.
        in_memory: `ItemsDataset` of the big images, if they are no files.
        indices: (I,) int64. The index of each tile's big image.
    """

    sources: tuple[str, ...] = ()
    source_sizes: tuple[Size, ...] = ()
    windows: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros([0, 4], np.int64), repr=False
    )
    tile_counts: TileCounts | None = dataclasses.field(default=None, repr=False)
    in_memory: ItemsDataset | None = dataclasses.field(default=None, repr=False)
    indices: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64), repr=False
    )
    open_sources: OpenSources = dataclasses.field(
        default_factory=OpenSources, init=False, repr=False
    )

    def load_image(self, index: int) -> np.ndarray:
        """Reads one tile.

        Args:
            index: int in [0, len(dataset)).

        Returns:
            (H, W, channels) of `image_dtype`; by default (H, W, 3) uint8 RGB.

        Raises:
            DataError: if the big image cannot be read, or has another size than the json says. The
                message names the file and the window.
        """
        path = os.path.join(self.images, self.sources[index])
        window = self.windows[index]
        try:
            if self.in_memory is not None:
                return self.in_memory.load_window(int(self.indices[index]), *window.tolist())
            sides, reading = self.source_sizes[index], Reading.of(self)
            return self.open_sources.read(path, sides, window, reading)
        except DataError as error:
            top, left, height, width = window.tolist()
            where = f"top={top}, left={left}, height={height}, width={width}"
            raise DataError(f"{error} In the window {where}.", error.kind) from error


def tiled(
    dataset: CocoDataset,
    tile: int | tuple[int, int] = 1024,
    overlap: int | tuple[int, int] | None = None,
    *,
    min_share: float = MIN_SHARE,
    empty_tiles: float = 1.0,
    seed: int = 0,
    on_error: OnError = "raise",
) -> TiledDataset:
    """Makes a data set of the tiles of big images. Tiles are read from the files when needed.

    Read `dataset` with check_images=False: then its images may be of any size and of any kind that
    `open_source` reads. From tiled TIFFs only the tile is decoded. JPEG and PNG are decoded whole,
    and the last ones stay in memory; write their tiles once instead (`keras-maskrcnn convert
    --tile`).

    Objects are cut with the image, see `cut_into_tiles`. Pieces with less than `min_share` of
    their object are ignored: training takes them neither for objects nor for background.

    Args:
        dataset: `CocoDataset` of big images.
        tile: int, or (height, width) in pixels. An image that is smaller keeps its side.
        overlap: int, or (height, width): what neighbors share, at least 1 pixel. By default a
            quarter of the tile, as in `predict_large`. An object that is no larger than the overlap
            is whole in at least one tile.
        min_share: float in [0, 1]. By default a half. 0 makes every piece an object.
        empty_tiles: float in [0, 1]. Share of the tiles without an object to train on that are
            kept.
        seed: int. Decides which of them.
        on_error: what to do if the header of an image cannot be used. "raise" raises the error.
            "skip" leaves the image out, logs it, and counts it in `skipped`.

    Returns:
        `TiledDataset`.

    Raises:
        TypeError: if the images of `dataset` are records or tiles.
        ValueError: if an argument is out of range.
        DataError: if every image is smaller than the tile, or an image cannot be read.
    """
    check_on_error(on_error)
    if type(dataset) not in (CocoDataset, ItemsDataset):
        raise TypeError(
            "tiles are cut from a data set of image files or of arrays, such as data.coco_json or"
            f" data.from_instances returns. Received: {type(dataset).__name__}."
        )
    skipped = dataset.skipped
    if type(dataset) is CocoDataset:
        dataset, skipped = _readable(dataset, on_error)
    shares: Any = {"min_share": min_share, "empty_tiles": empty_tiles}
    cut = cut_into_tiles(dataset, tile, overlap, **shares, seed=seed)
    coco = coco_dict(
        dataset.images,
        cut.content,
        source=f"tiles of {source_of(dataset)}",
        category_ids=dataset.category_ids,
        class_names=dataset.class_names,
        masks=dataset.has_masks,
        crowds="ignore",
        mask_size=dataset.mask_size,
        check_images=False,
        **Reading.of(dataset).fields(),
    )
    fields: dict[str, Any] = {
        field.name: getattr(coco, field.name) for field in dataclasses.fields(coco)
    }
    fields["skipped"] = skipped
    return TiledDataset(
        **fields,
        sources=tuple(dataset.file_names[i] for i in cut.images),
        source_sizes=tuple(dataset.sizes[i] for i in cut.images),
        windows=cut.windows,
        tile_counts=cut.counts,
        in_memory=dataset if isinstance(dataset, ItemsDataset) else None,
        indices=cut.images,
    )


def open_big_image(path: Path, size: Size | None, reading: Reading = RGB) -> Source:
    """Opens a big image, and requires the (height, width) of the json; None requires none.

    Args:
        path: str. The file.
        size: (height, width), or None.
        reading: `data.bands.Reading` of the windows.

    Raises:
        DataError: if the file cannot be read, or has another size.
    """
    source = open_source(
        path, reading.channels, reading.image_dtype, orientation=reading.orientation
    )
    if size is not None and (source.height, source.width) != tuple(size):
        source.close()
        if isinstance(source, PillowSource):
            raise size_error(path, (source.height, source.width), size)
        raise DataError(
            f"{path}: the json says width={size[1]}, height={size[0]}."
            f" Received: width={source.width}, height={source.height}.",
            "size mismatch",
        )
    return source


def _readable(dataset, on_error):
    """Returns the images whose headers fit the json, and the others in a dict as `skipped`."""
    skipped, kept = dict(dataset.skipped), []
    for i, (name, size) in enumerate(zip(dataset.file_names, dataset.sizes, strict=True)):
        path = os.path.join(dataset.images, name)
        try:
            open_big_image(path, size, Reading.of(dataset)).close()
            kept.append(i)
        except DataError as error:
            if on_error == "raise":
                raise
            skipped[name] = 1
            logging.warning("skipped unreadable image %d: %s", len(skipped), error)
    if not kept:
        raise DataError(f"{dataset.images}: none of {len(dataset)} images can be read.")
    return (dataset if len(kept) == len(dataset) else subset(dataset, kept)), skipped


def subset(dataset: CocoDataset, images: list[int]) -> CocoDataset:
    """Returns some images of a data set, with their instances.

    Args:
        dataset: `CocoDataset`.
        images: indices of the images, in ascending order.
    """
    spans = [range(*dataset.offsets[i : i + 2]) for i in images]
    instances = [j for span in spans for j in span]
    changes: Any = {
        name: tuple(getattr(dataset, name)[i] for i in images)
        for name in ("image_ids", "file_names", "sizes")
    }
    return dataclasses.replace(
        dataset,
        **changes,
        offsets=np.cumsum([0, *map(len, spans)]),
        boxes=dataset.boxes[instances],
        labels=dataset.labels[instances],
        annotation_ids=tuple(dataset.annotation_ids[j] for j in instances),
        counts=[dataset.counts[j] for j in instances] if dataset.has_masks else [],
        ignored=tuple(dataset.ignored[i] for i in images) if dataset.has_ignored else (),
    )
