"""Writes a COCO content in other formats, to test that reading returns the same content."""

import base64
import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

BRIDGE = (0, 0)  # the point that connects the parts of a keyhole polygon


def run_lengths(segmentation, height, width):
    """Returns {"size", "counts"} of polygons or run lengths."""
    if isinstance(segmentation, dict):
        return segmentation
    return mask_api.merge(mask_api.frPyObjects(segmentation, height, width))


def keyhole(mask):
    """Returns one polygon of a mask with any holes and parts.

    It visits the rectangle of every run of a column, and returns on the same line: lines that are
    drawn twice cancel out.
    """
    polygon = [*BRIDGE]
    columns = np.pad(mask, ((1, 1), (0, 0))).astype(np.int8).T
    for x, column in enumerate(columns):
        edges = np.flatnonzero(np.diff(column)).tolist()
        for top, bottom in zip(edges[::2], edges[1::2], strict=True):
            polygon += [x, top, x + 1, top, x + 1, bottom, x, bottom, x, top, *BRIDGE]
    return polygon


def one_polygon(segmentation, height, width):
    if isinstance(segmentation, list) and len(segmentation) == 1:
        return segmentation[0]
    return keyhole(mask_api.decode(run_lengths(segmentation, height, width)))


def png_base64(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(bool)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def scenes(content):
    """Yields (image, annotations) of a COCO content."""
    for image in content["images"]:
        yield image, [a for a in content["annotations"] if a["image_id"] == image["id"]]


def names_of(content):
    return {category["id"]: category["name"] for category in content["categories"]}


def stem(image):
    return image["file_name"].rsplit(".", 1)[0]


def write_via(content, images, folder):
    names, files = names_of(content), {}
    for image, annotations in scenes(content):
        regions = []
        for annotation in annotations:
            size = image["height"], image["width"]
            polygon = one_polygon(annotation["segmentation"], *size)
            shape = {"name": "polygon", "all_points_x": polygon[::2], "all_points_y": polygon[1::2]}
            attributes = {"kind": names[annotation["category_id"]]}
            regions.append({"shape_attributes": shape, "region_attributes": attributes})
        files[image["file_name"]] = {"filename": image["file_name"], "regions": regions}
    (folder / "via.json").write_text(json.dumps(files))
    return folder / "via.json", {"class_attribute": "kind", "class_names": names}


def write_labelme(content, images, folder):
    """Writes labelme: parts become polygons with one group_id, run lengths become masks."""
    names = names_of(content)
    for image, annotations in scenes(content):
        shapes = []
        for group, annotation in enumerate(annotations):
            shape = {"label": names[annotation["category_id"]], "group_id": group}
            segmentation = annotation["segmentation"]
            if isinstance(segmentation, dict):
                x, y, w, h = mask_api.toBbox(segmentation).astype(int).tolist()
                mask = png_base64(mask_api.decode(segmentation)[y : y + h, x : x + w])
                points = [[x, y], [x + w - 1, y + h - 1]]
                shapes.append({**shape, "shape_type": "mask", "points": points, "mask": mask})
                continue
            for polygon in segmentation:
                points = np.reshape(polygon, (-1, 2)).tolist()
                shapes.append({**shape, "shape_type": "polygon", "points": points})
        entry = {"version": "5.5.0", "shapes": shapes, "imagePath": image["file_name"]}
        entry |= {"imageHeight": image["height"], "imageWidth": image["width"], "imageData": None}
        (folder / f"{stem(image)}.json").write_text(json.dumps(entry))
    return folder, {"class_names": names}


def indices(image, annotations, values):
    """Returns an index mask; later instances cover earlier ones."""
    index = np.zeros((image["height"], image["width"]), np.uint16)
    for annotation, value in zip(annotations, values, strict=True):
        encoded = run_lengths(annotation["segmentation"], image["height"], image["width"])
        index[mask_api.decode(encoded) > 0] = value
    return index


def write_index_masks(content, images, folder):
    """Writes 16-bit index masks with values class * 1000 + number."""
    for image, annotations in scenes(content):
        values = [a["category_id"] * 1000 + i for i, a in enumerate(annotations)]
        index = indices(image, annotations, values)
        Image.fromarray(index).save(folder / f"{stem(image)}.png")
    return folder, {"label_divisor": 1000, "class_names": names_of(content)}


def write_instance_masks(content, images, folder):
    """Writes one folder per image and one file per instance, without classes."""
    for image, annotations in scenes(content):
        (folder / stem(image)).mkdir()
        for i, annotation in enumerate(annotations):
            mask = indices(image, [annotation], [255]).astype(np.uint8)
            Image.fromarray(mask).save(folder / stem(image) / f"{i:04d}.png")
    return folder, {}


def write_open_images(content, images, folder):
    """Writes a CSV file and a PNG per instance in subfolders, as Open Images has them."""
    names, rows = names_of(content), ["MaskPath,ImageID,LabelName,BoxXMin,BoxXMax,BoxYMin,BoxYMax"]
    for image, annotations in scenes(content):
        (folder / stem(image)).mkdir()
        for i, annotation in enumerate(annotations):
            path = f"{stem(image)}_{i:04d}.png"
            mask = indices(image, [annotation], [1]).astype(bool)
            Image.fromarray(mask).save(folder / stem(image) / path)
            rows.append(f"{path},{stem(image)},{names[annotation['category_id']]},0,1,0,1")
    (folder / "masks.csv").write_text("\n".join(rows))
    return folder / "masks.csv", {"class_names": names}


def write_cvat(content, images, folder):
    names = names_of(content)
    labels = "".join(f"<label><name>{name}</name></label>" for name in names.values())
    lines = [f"<annotations><meta><job><labels>{labels}</labels></job></meta>"]
    for image, annotations in scenes(content):
        size = image["height"], image["width"]
        lines.append('<image name="{file_name}" height="{height}" width="{width}">'.format(**image))
        for annotation in annotations:
            points = np.reshape(one_polygon(annotation["segmentation"], *size), (-1, 2)).tolist()
            points = ";".join(f"{x},{y}" for x, y in points)
            label = names[annotation["category_id"]]
            lines.append(f'<polygon label="{label}" points="{points}"/>')
        lines.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))
    return folder / "annotations.xml", {"class_names": names}


def write_label_studio(content, images, folder):
    names, tasks = names_of(content), []
    for image, annotations in scenes(content):
        size, regions = (image["height"], image["width"]), []
        for annotation in annotations:
            points = np.reshape(one_polygon(annotation["segmentation"], *size), (-1, 2))
            points = (points * 100 / size[::-1]).tolist()
            value = {"points": points, "polygonlabels": [names[annotation["category_id"]]]}
            region = {"type": "polygonlabels", "value": value}
            region |= {"original_height": size[0], "original_width": size[1]}
            regions.append(region)
        task = {"data": {"image": f"/data/upload/1/1f3a9c2e-{image['file_name']}"}}
        tasks.append({"id": image["id"], **task, "annotations": [{"result": regions}]})
    (folder / "export.json").write_text(json.dumps(tasks))
    return folder / "export.json", {"class_names": names}


def write_panoptic(content, images, folder):
    """Writes COCO's panoptic json, and PNGs whose colors are ids; the first segment has id 300."""
    (folder / "panoptic").mkdir()
    found = []
    for image, annotations in scenes(content):
        ids = [300 + i for i in range(len(annotations))]
        index = indices(image, annotations, ids)
        colors = np.stack([index & 255, index >> 8, 0 * index], axis=-1).astype(np.uint8)
        name = f"{stem(image)}.png"
        Image.fromarray(colors).save(folder / "panoptic" / name)
        pairs = zip(ids, annotations, strict=True)
        segments = [{"id": i, "category_id": a["category_id"], "iscrowd": 0} for i, a in pairs]
        found.append({"image_id": image["id"], "file_name": name, "segments_info": segments})
    things = [{**category, "isthing": 1} for category in content["categories"]]
    entry = {"images": content["images"], "annotations": found, "categories": things}
    (folder / "panoptic.json").write_text(json.dumps(entry))
    return folder / "panoptic.json", {}


def write_cityscapes(content, images, folder):
    """Writes the polygons of every instance as a car."""
    for image, annotations in scenes(content):
        polygons = [
            p for a in annotations if isinstance(a["segmentation"], list) for p in a["segmentation"]
        ]
        objects = [{"label": "car", "polygon": np.reshape(p, (-1, 2)).tolist()} for p in polygons]
        entry = {"imgHeight": image["height"], "imgWidth": image["width"], "objects": objects}
        (folder / f"{stem(image)}_gtFine_polygons.json").write_text(json.dumps(entry))
    return folder, {}


def write_supervisely(content, images, folder):
    """Writes the polygons, in the folder of a data set of a project."""
    names = names_of(content)
    for image, annotations in scenes(content):
        objects = []
        for annotation in annotations:
            polygon = one_polygon(annotation["segmentation"], image["height"], image["width"])
            points = {"exterior": np.reshape(polygon, (-1, 2)).tolist(), "interior": []}
            kind = {"geometryType": "polygon", "classTitle": names[annotation["category_id"]]}
            objects.append({**kind, "points": points})
        size = {"height": image["height"], "width": image["width"]}
        path = folder / f"{image['file_name']}.json"
        path.write_text(json.dumps({"size": size, "objects": objects}))
    return folder, {"class_names": names}


def write_voc(content, images, folder):
    for name in ("ImageSets/Segmentation", "SegmentationObject", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    names = []
    for image, annotations in scenes(content):
        names.append(stem(image))
        numbers = range(1, len(annotations) + 1)
        categories = [annotation["category_id"] for annotation in annotations]
        for kind, values in (("Object", numbers), ("Class", categories)):
            index = Image.fromarray(indices(image, annotations, values).astype(np.uint8), "P")
            index.putpalette(list(range(256)) * 3)
            index.save(folder / f"Segmentation{kind}" / f"{stem(image)}.png")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names) + "\n")
    return folder, {"split": "train", "class_names": names_of(content)}


def write_yolo(content, images, folder):
    for image, annotations in scenes(content):
        rows = []
        for annotation in annotations:
            size = image["height"], image["width"]
            points = np.reshape(one_polygon(annotation["segmentation"], *size), (-1, 2))
            shares = (points / [image["width"], image["height"]]).ravel()
            # Six digits, as in Ultralytics.
            rows.append(" ".join([str(annotation["category_id"]), *(f"{v:.6g}" for v in shares)]))
        (folder / f"{stem(image)}.txt").write_text("\n".join(rows))
    lines = [f"  {identity}: {name}" for identity, name in names_of(content).items()]
    (folder / "data.yaml").write_text("\n".join(["path: .", "names:", *lines, "nc: 3"]))
    return folder, {"class_names": folder / "data.yaml"}
