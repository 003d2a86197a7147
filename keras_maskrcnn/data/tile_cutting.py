"""Cuts the annotations of big images into tiles: the content of a COCO json whose images are tiles.

Pixels are not read here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset, source_of
from keras_maskrcnn.data.coco_checks import read_box, read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.tile_grid import tile_and_overlap, tile_windows
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import Size

MIN_SHARE = 0.5
"""Smallest share of its object with which a piece is trained as an object.

A cut in two leaves a piece of at least a half, so each such object is trained on in one tile at
least. A smaller piece shows less of its object than is missing.
"""


@dataclasses.dataclass(frozen=True)
class TileCounts:
    """What became of the images and objects of a data set that was cut into tiles.

    Attributes:
        tile, overlap: (height, width) in pixels.
        min_share: float. The limit below which pieces are ignored.
        images: int. Big images.
        smaller: int. Images with a side that is shorter than the tile's. Along it they have one
            tile, of the image's side.
        tiles: int. Tiles in the data set.
        left_out: int. Tiles without an object to train on that were left out.
        objects: int. Objects in the big images.
        objects_whole: int. Objects that are whole in at least one tile.
        objects_cut: int. Objects that are whole in no tile, but have a piece to train on.
        objects_lost: int. Objects without a piece to train on.
        pieces_whole, pieces_cut, pieces_ignored: int. Annotations of the tiles: whole objects, cut
            objects, and pieces below the limit. An object may be in several tiles.
        over_overlap, over_tile: int. Objects with a side that is longer than the overlap's or the
            tile's.
        longest_sides: (3,) pixels. Of the longer sides of the objects' boxes: the median, the value
            that 95 % do not exceed, and the longest. Zeros without objects.
    """

    tile: Size
    overlap: Size
    min_share: float
    images: int
    smaller: int
    tiles: int
    left_out: int
    objects: int
    objects_whole: int
    objects_cut: int
    objects_lost: int
    pieces_whole: int
    pieces_cut: int
    pieces_ignored: int
    over_overlap: int
    over_tile: int
    longest_sides: tuple[int, int, int]

    def report(self) -> str:
        """Returns the counts as lines of text, with advice on tile and overlap."""
        (rows, columns), (above, beside) = self.tile, self.overlap
        median, most, longest = self.longest_sides
        lines = [
            f"{self.images} images -> {self.tiles} tiles of {rows} x {columns} pixels with an"
            f" overlap of {above} x {beside}; {self.left_out} tiles without objects left out.",
            f"{self.objects} objects: {self.objects_whole} are whole in a tile, {self.objects_cut}"
            f" only cut, {self.objects_lost} only in pieces below {self.min_share:g} of them.",
            f"Annotations: {self.pieces_whole} whole, {self.pieces_cut} cut,"
            f" {self.pieces_ignored} pieces to ignore (iscrowd=1).",
            f"Longer sides of the objects: median {median}, 95 % up to {most}, longest {longest}"
            f" pixels. {self.over_overlap} objects exceed the overlap, {self.over_tile} the tile.",
        ]
        if self.smaller:
            lines.append(f"{self.smaller} images are smaller than a tile and keep their size.")
        if self.objects_lost:
            lines.append(
                f"No tile trains on {self.objects_lost} objects: take a larger overlap or tile, or"
                " a smaller min_share."
            )
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Cut:
    """The annotations of a data set in tiles.

    Attributes:
        content: dict. The content of a COCO json. Its images are the tiles, in the order of the big
            images and row by row. Each has an entry `tile`: `source`, the file name of the big
            image, `source_id`, `top` and `left`. Each annotation has `source_id`, the id of its
            annotation in the big image, and `share`, the share of the object that it shows.
        windows: (n, 4) int64 [top, left, height, width] of each tile in its big image.
        images: (n,) int64. The index of each tile's big image.
        counts: `TileCounts`.
    """

    content: dict[str, Any]
    windows: np.ndarray
    images: np.ndarray
    counts: TileCounts


def cut_into_tiles(
    dataset: CocoDataset,
    tile: int | tuple[int, int],
    overlap: int | tuple[int, int] | None = None,
    *,
    min_share: float = MIN_SHARE,
    empty_tiles: float = 1.0,
    seed: int = 0,
    name: Callable[[str, int, int, int, int], str] | None = None,
) -> Cut:
    """Cuts the annotations of a data set into tiles.

    An object that a tile holds whole keeps its box. A piece gets a new one, the extent of its
    pixels; without masks, the part of the box. A piece that shows less than `min_share` of its
    object becomes a crowd, so that `coco_json(..., crowds="ignore")` takes it neither for an object
    nor for background. A region to ignore is cut too.

    Args:
        dataset: `CocoDataset` of big images.
        tile, overlap: int, or (height, width). As in `tile_and_overlap`.
        min_share: float in [0, 1]. 0 makes every piece an object; 1 only whole objects.
        empty_tiles: float in [0, 1]. Share of the tiles without an object to train on that are
            kept.
        seed: int. Decides which of them; the same seed keeps the same ones.
        name: function of the big image's file name and of top, left, height and width, which gives
            the tile's file name. By default "FILE[top:bottom,left:right]".

    Returns:
        `Cut`.

    Raises:
        ValueError: if an argument is out of range.
        DataError: if every image is smaller than the tile.
    """
    tile, overlap = tile_and_overlap(tile, overlap)
    for key, value in (("min_share", min_share), ("empty_tiles", empty_tiles)):
        if not 0 <= value <= 1:
            raise ValueError(f"{key} must be in 0..1. Received: {key}={value!r}.")
    _require_a_large_image(dataset, tile)
    crowds = _crowds(dataset)
    windows, images, best = [], [], []
    pieces: list[list[dict[str, Any]]] = []
    for i, size in enumerate(dataset.sizes):
        of_image = _windows(size, tile, overlap)
        found, shares = _pieces(
            dataset, i, crowds.get(dataset.image_ids[i], []), of_image, min_share
        )
        windows.append(of_image)
        images.append(np.full(len(of_image), i))
        pieces += found
        best.append(shares)
    windows, images = np.concatenate(windows), np.concatenate(images)
    filled = [any(not piece["iscrowd"] for piece in of_tile) for of_tile in pieces]
    kept = _kept(np.array(filled), empty_tiles, seed)
    left_out = len(windows) - len(kept)
    windows, images, pieces = windows[kept], images[kept], [pieces[k] for k in kept]
    content = _content(dataset, windows, images, pieces, name or window_name)
    content["info"] = {
        "tiles": {
            "tile": list(tile),
            "overlap": list(overlap),
            "min_share": min_share,
            "empty_tiles": empty_tiles,
            "seed": seed,
        }
    }
    trained = [p for of_tile in pieces for p in of_tile if not p["iscrowd"]]
    pieces_whole = sum(piece["share"] == 1 for piece in trained)
    best = np.concatenate(best)
    counts = TileCounts(
        tile=tile,
        overlap=overlap,
        min_share=min_share,
        images=len(dataset),
        smaller=int((np.array(dataset.sizes) < tile).any(axis=1).sum()),
        tiles=len(windows),
        left_out=left_out,
        objects=len(best),
        objects_whole=int((best == 1).sum()),
        objects_cut=int(((best >= min_share) & (best < 1)).sum()),
        objects_lost=int((best < min_share).sum()),
        pieces_whole=pieces_whole,
        pieces_cut=len(trained) - pieces_whole,
        pieces_ignored=len(content["annotations"]) - len(trained),
        **_sides(dataset.boxes, tile, overlap),
    )
    return Cut(content, windows, images, counts)


def window_name(file_name: str, top: int, left: int, height: int, width: int) -> str:
    """Returns the name of a window: "FILE[top:bottom,left:right]"."""
    return f"{file_name}[{top}:{top + height},{left}:{left + width}]"


def _require_a_large_image(dataset, tile):
    """Raises DataError if no image has the sides of a tile."""
    sizes = np.array(dataset.sizes)
    if not (sizes >= tile).all(axis=1).any():
        height, width = sizes[sizes.prod(axis=1).argmax()].tolist()
        raise DataError(
            f"{source_of(dataset)}: the tile is larger than every image; the largest has"
            f" height={height}, width={width}. Received: tile={tile}."
        )


def _windows(size, tile, overlap):
    """Returns the windows of one image. Along a side that is shorter than the tile there is one."""
    height, width = np.maximum(size, tile).tolist()
    windows = tile_windows(height, width, tile, overlap)
    windows[:, 2:] = np.minimum(windows[:, 2:], size)
    return windows


def _crowds(dataset):
    """Returns the crowds of a data set that ignores them: a dict of image id to annotations."""
    found: dict[Any, list[dict[str, Any]]] = {}
    if dataset.has_ignored:
        for annotation in dataset.content()["annotations"]:
            if annotation.get("iscrowd"):
                found.setdefault(annotation["image_id"], []).append(annotation)
    return found


def _pieces(dataset, image, crowds, windows, min_share):
    """Cuts the objects and crowds of one image.

    Returns:
        A list of pieces for each window, and (n,) float: the largest share of each object that one
        window shows.
    """
    height, width = dataset.sizes[image]
    pieces: list[list[dict[str, Any]]] = [[] for _ in windows]
    first, last = dataset.offsets[image : image + 2].tolist()
    best = np.zeros(last - first)
    for j in range(first, last):
        box = dataset.boxes[j].astype(float)
        region = None
        if dataset.has_masks:
            region = rle.decode_region(dataset.counts[j], height, width)
        about = {
            "category_id": dataset.category_ids[dataset.labels[j] - 1],
            "source_id": dataset.annotation_ids[j],
        }
        for k, piece in _cut(box, region, windows):
            ignored = int(piece["share"] < min_share)
            pieces[k].append({**about, "iscrowd": ignored, **piece})
            best[j - first] = max(best[j - first], piece["share"])
    for crowd in crowds:
        where = f"{source_of(dataset)}: annotation {crowd['id']!r}"
        box, region = np.array(read_box(crowd["bbox"], height, width, where)), None
        if dataset.has_masks:
            counts = None
            if crowd.get("segmentation"):
                counts, _ = read_segmentation(crowd["segmentation"], height, width, where)
            region = _filled(box) if counts is None else rle.decode_region(counts, height, width)
        about = {"category_id": crowd["category_id"], "source_id": crowd["id"]}
        for k, piece in _cut(box, region, windows):
            pieces[k].append({**about, "iscrowd": 1, **piece})
    return pieces, best


def _filled(box):
    """Returns the region and the origin of all pixels that a box touches."""
    x1, y1 = np.floor(box[:2]).astype(int).tolist()
    x2, y2 = np.ceil(box[2:]).astype(int).tolist()
    return np.ones([y2 - y1, x2 - x1], bool), (y1, x1)


def _cut(box, region, windows):
    """Yields the index of each window that shows a part of an object, and the part.

    Args:
        box: (4,) float [x1, y1, x2, y2].
        region: (h, w) bool and (y, x), see `rle.decode_region`; None without masks.
        windows: (n, 4) int.
    """
    if region is None:
        x1, y1, x2, y2 = box
        total = float((x2 - x1) * (y2 - y1))
    else:
        mask, (y1, x1) = region
        y2, x2 = y1 + mask.shape[0], x1 + mask.shape[1]
        total = int(np.count_nonzero(mask))
    tops, lefts, heights, widths = windows.T
    touched = (tops < y2) & (tops + heights > y1) & (lefts < x2) & (lefts + widths > x1)
    for k in np.flatnonzero(touched).tolist():
        top, left, height, width = windows[k].tolist()
        limits = np.array([left, top, left + width, top + height])
        clipped = np.clip(box, np.tile(limits[:2], 2), np.tile(limits[2:], 2))
        if region is None:
            area = float(np.prod(clipped[2:] - clipped[:2]))
            yield k, _piece(clipped - np.tile(limits[:2], 2), area, area / total)
            continue
        first_y, first_x = max(y1, top), max(x1, left)
        part = mask[first_y - y1 : top + height - y1, first_x - x1 : left + width - x1]
        area = int(np.count_nonzero(part))
        if not area:
            continue
        origin = first_y - top, first_x - left
        inside = clipped - np.tile(limits[:2], 2)
        if area < total:  # the extent of the pixels that are left
            rows, columns = part.any(axis=1).nonzero()[0], part.any(axis=0).nonzero()[0]
            ends = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            inside = np.add(ends, np.tile(origin[::-1], 2))
        encoded = rle.encode_region(part, origin, height, width)
        yield k, _piece(inside, area, area / total, encoded)


def _piece(box, area, share, encoded=None):
    """Returns the entries of a piece's annotation that its pixels decide."""
    x1, y1, x2, y2 = np.asarray(box, float).tolist()
    outline = {} if encoded is None else {"segmentation": encoded}
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "share": share, **outline}


def _kept(filled, share, seed):
    """Returns the indices of the tiles that stay, (n,) int."""
    without = np.flatnonzero(~filled)
    rng = np.random.default_rng(seed)
    some = rng.permutation(without)[: round(share * len(without))]
    return np.sort(np.concatenate([np.flatnonzero(filled), some]))


def _content(dataset, windows, images, pieces, name):
    """Returns the content of a COCO json about the tiles."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    rows = zip(windows.tolist(), images.tolist(), pieces, strict=True)
    for number, ((top, left, height, width), image, of_tile) in enumerate(rows, start=1):
        source = dataset.file_names[image]
        place = {"source": source, "source_id": dataset.image_ids[image], "top": top, "left": left}
        file_name = name(source, top, left, height, width)
        sides = {"height": height, "width": width}
        entries.append({"id": number, "file_name": file_name, **sides, "tile": place})
        for piece in of_tile:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **piece})
    classes = zip(dataset.category_ids, dataset.class_names, strict=True)
    categories = [{"id": identity, "name": title} for identity, title in classes]
    return {"images": entries, "annotations": annotations, "categories": categories}


def _sides(boxes, tile, overlap):
    """Compares the sides of the objects' boxes with those of the tile and of the overlap."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, ::-1]
    longer = np.ceil(sides.max(axis=1)) if len(sides) else np.zeros(1)
    middle, most, longest = np.percentile(longer, [50, 95, 100], method="inverted_cdf").tolist()
    return {
        "over_overlap": int((sides > overlap).any(axis=1).sum()),
        "over_tile": int((sides > tile).any(axis=1).sum()),
        "longest_sides": (int(middle), int(most), int(longest)),
    }
