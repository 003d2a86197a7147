"""Reads json files of labelme."""

import base64
import collections
import math
import os
import reprlib
from typing import Any

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, list_files, list_images
from keras_maskrcnn.data.formats.shapes import ellipse, joined, rectangle
from keras_maskrcnn.data.images import decode_mask
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

NO_AREA = "shape without an area: point, points, line or linestrip"
FEW_SHAPE_POINTS = "shape with fewer points than its kind needs"
UNKNOWN_KIND = "shape of a kind that is not read"

# Number of points of a shape. A rectangle has two opposite corners, or four if it may be rotated.
_POINTS = {
    "polygon": None,
    "rectangle": (2, 4),
    "oriented_rectangle": (4,),
    "rotation": (4,),
    "quadrilateral": (4,),
    "circle": (2,),
    "mask": (2,),
}
_KINDS_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def labelme(
    images: Path, annotations: Path, *, class_names: ClassNames | None = None, **options: Any
) -> CocoDataset:
    """Reads the json files of labelme, one per image.

    Polygons, rectangles (also rotated ones), circles and masks become instances. Shapes with the
    same label and `group_id` become one instance. Points, lines and the shapes of other tools are
    left out and counted. The image file is read, never the copy of it inside the json.

    Args:
        images: folder of the images. labelme's `imagePath` is relative to its json; if the image is
            not there, the path is tried relative to `images`. If that fails too (the path is of
            another machine), only the file name counts. The image is then looked for beside the
            json, in the same subfolder of `images`, in `images`, and last in all its subfolders. In
            this last place case may differ, and only one image may have the name.
        annotations: folder of the json files, with its subfolders; often the same as `images`.
        class_names: as in `read_class_names`. By default the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a json or an image cannot be used.
    """
    content = Content(images, class_names, options=options, orientation="apply")
    find = _Finder(content.images, os.fspath(annotations))
    for json_name in list_files(annotations, ".json"):
        path = os.path.join(annotations, json_name)
        entry = read_json(path)
        shapes = entry.get("shapes") if isinstance(entry, dict) else None
        if not isinstance(shapes, list) or not isinstance(entry.get("imagePath"), str):
            raise DataError(
                f"{path}: a json of labelme has an imagePath and shapes."
                f" Received: {reprlib.repr(entry)}."
            )
        name = find(path, entry["imagePath"])
        sides = entry.get("imageHeight"), entry.get("imageWidth")
        size = content.add_image(name, path, None if None in sides else sides)
        if size is None:
            continue
        for label, parts in _instances(shapes, path, content.drop):
            height, width = size
            found = [(_segmentation(shape, where, height, width), where) for shape, where in parts]
            content.add(name, label, joined(found, height, width, content.drop), parts[0][1])
    return content.dataset(annotations, options)


class _Finder:
    """Finds the images that labelme's files name.

    Args:
        images: str. The folder of the images. Images outside of it are never used.
        annotations: str. The folder of the json files.
    """

    def __init__(self, images, annotations):
        self.images, self.annotations, self._named = images, annotations, None

    def __call__(self, json_path, image_path):
        """Returns the path of an image relative to the folder. The file may be missing."""
        image_path = image_path.replace("\\", "/")
        base, folder = os.path.basename(image_path), os.path.dirname(json_path)
        if base in ("", os.curdir, os.pardir) or "\0" in image_path:
            return image_path  # refused later
        likewise = os.path.join(os.path.relpath(folder, self.annotations), base)
        candidates = [
            os.path.relpath(os.path.join(folder, image_path), self.images),
            os.path.normpath(image_path),
            os.path.relpath(os.path.join(folder, base), self.images),
            os.path.normpath(likewise),
            base,
        ]
        inside = [path for path in candidates if self._is_inside(path)]
        for path in inside:
            if os.path.exists(os.path.join(self.images, path)):
                return path
        named = self._all_named(base)
        named = [name for name in named if os.path.basename(name) == base] or named
        if len(named) > 1:
            raise DataError(
                f"{json_path}: several images have this name: {reprlib.repr(named)}."
                f" Received: imagePath={image_path!r}."
            )
        return (named or inside)[0]

    def _is_inside(self, path):
        return not os.path.isabs(path) and path.split(os.sep)[0] != os.pardir

    def _all_named(self, base):
        """Lists the images of this name, ignoring case as Windows does."""
        if self._named is None:
            self._named = collections.defaultdict(list)
            for name in list_images(self.images):
                self._named[os.path.basename(name).casefold()].append(name)
        return self._named.get(base.casefold(), [])


def _instances(shapes, path, drop):
    """Returns (label, [(shape, where), ...]) per instance, in the order of the first shapes."""
    instances: dict[Any, list[Any]] = {}
    for i, shape in enumerate(shapes):
        where = f"{path}: shape {i}"
        label = shape.get("label") if isinstance(shape, dict) else None
        group = shape.get("group_id") if isinstance(shape, dict) else None
        if isinstance(label, int) and not isinstance(label, bool):
            label = str(label)
        if not isinstance(label, str) or not label or not isinstance(group, int | None):
            raise DataError(
                f"{where}: a shape has a label, and its group_id is an integer or null."
                f" Received: {reprlib.repr(shape)}."
            )
        reason = _unread(shape, where)
        if reason:
            drop(reason, where)
            continue
        key = (label, None, i) if group is None else (label, group)
        instances.setdefault(key, []).append((shape, where))
    return [(key[0], parts) for key, parts in instances.items()]


def _unread(shape, where):
    """Returns why a shape is left out, or None if it is read."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if not isinstance(kind, str):
        raise DataError(f"{where}: unknown shape. Received: shape_type={reprlib.repr(kind)}.")
    if kind in _KINDS_WITHOUT_AREA:
        return NO_AREA
    if kind not in _POINTS:
        return f"{UNKNOWN_KIND}: {kind[:40]!r}"
    counts = _POINTS[kind]
    if counts and isinstance(points, list) and len(points) < counts[0]:
        return FEW_SHAPE_POINTS
    return None


def _segmentation(shape, where, height, width):
    """Returns a shape as polygons or as run lengths."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    counts = _POINTS[kind]
    if not _are_points(points) or (counts and len(points) not in counts):
        expected = " or ".join(map(str, counts)) if counts else "a list of"
        raise DataError(
            f"{where}: points must be {expected} pairs of numbers."
            f" Received: points={reprlib.repr(points)}."
        )
    flat = [coordinate for point in points for coordinate in point]
    if kind == "rectangle" and len(points) == 2:
        return [rectangle(*flat)]
    if kind == "circle":
        x, y, edge_x, edge_y = flat
        radius = math.hypot(edge_x - x, edge_y - y)
        return [ellipse(x, y, radius, radius)]
    if kind == "mask":
        return _mask(shape.get("mask"), flat, where, height, width)
    return [flat]


def _are_points(points):
    return isinstance(points, list) and all(
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(v, int | float) and abs(v) < 1e9 for v in point)
        for point in points
    )


def _mask(text, corners, where, height, width):
    """Decodes a PNG in base64 that fills the box of the corners; both corners are inclusive."""
    try:
        mask = decode_mask(base64.b64decode(text, validate=True))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: mask must be a PNG in base64. Received: {error}.") from error
    x1, y1, x2, y2 = corners
    sides = x2 - x1 + 1, y2 - y1 + 1
    # Corners may be fractions. They are rounded, as in labelme.
    if mask.ndim != 2 or any(abs(a - b) >= 1 for a, b in zip(sides, mask.shape[::-1], strict=True)):
        raise DataError(
            f"{where}: mask must have one channel and the size of its points, {sides[0]} x"
            f" {sides[1]}. Received: shape={mask.shape}."
        )
    return rle.encode_region(mask, (round(y1), round(x1)), height, width)
