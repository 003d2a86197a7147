"""The data that the notebook downloads, made from COCO content."""


def via(content):
    """Converts COCO content to that of the VGG Image Annotator, with a rectangle per object."""
    regions = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        shape = dict(zip(("x", "y", "width", "height"), annotation["bbox"], strict=True))
        region = {"shape_attributes": {"name": "rect", **shape}, "region_attributes": {}}
        regions[annotation["image_id"]].append(region)
    return {
        image["file_name"]: {"filename": image["file_name"], "regions": regions[image["id"]]}
        for image in content["images"]
    }
