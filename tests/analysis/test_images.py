from pycocotools import mask as coco_mask

from analysis.made_sets import made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis.errors import KINDS


def test_the_worst_images_come_first_with_all_they_hold():
    content, results = made(num_images=30, seed=16)
    numbers = analysis.report_numbers(results, content, worst=7)
    images, worst = numbers["images"], numbers["worst"]
    badness = [images[one["image"]]["missed"] + images[one["image"]]["wrong"] for one in worst]
    assert len(worst) == 7 and badness == sorted(badness, reverse=True)
    assert badness[0] == max(image["missed"] + image["wrong"] for image in images)
    seen = set()
    for one in worst:
        scores = [row["score"] for row in one["detections"]]
        assert scores == sorted(scores, reverse=True)
        for row in one["detections"]:
            result = results[row["result"]]
            seen.add(row["kind"])
            assert result["image_id"] == images[one["image"]]["id"]
            assert result["category_id"] == numbers["classes"][row["class"]]["id"]
            if row["object"] is not None:
                target = content["annotations"][one["objects"][row["object"]]["annotation"]]
                shapes = [[x["segmentation"]] for x in (result, target)]
                assert abs(coco_mask.iou(*shapes, [0])[0, 0] - row["iou"]) < 1e-5
            elif row["kind"] == "background":
                assert row["iou"] <= 0.1
        assert len(one["objects"]) >= images[one["image"]]["objects"]
    assert {*KINDS, "ignored"} - seen <= {"both", "duplicate"}


def test_images_without_errors_are_not_among_the_worst():
    content, _ = made(num_images=5, seed=17, crowds=False)
    found = [{**a, "score": 0.9} for a in content["annotations"]]
    assert analysis.report_numbers(found, content)["worst"] == []
