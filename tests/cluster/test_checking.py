import json

import pytest
from PIL import Image

pytest.importorskip("apache_beam", reason="needs the extra beam")

from keras_maskrcnn.cluster import checking  # noqa: E402
from keras_maskrcnn.data.bands import Reading  # noqa: E402

CATEGORIES = [{"id": 1, "name": "a"}]


def image(number, **changes):
    entry = {"id": number, "file_name": f"{number}.png", "height": 10, "width": 20}
    return {**entry, **changes}


def annotation(number, image_id):
    box = {"bbox": [1, 2, 3, 4], "category_id": 1, "iscrowd": 0}
    return {"id": number, "image_id": image_id, **box}


def test_a_json_without_broken_images_keeps_all_else():
    content = {
        "info": {"x": 1},
        "images": [image(1), image(2), image(3)],
        "annotations": [annotation(5, 3), annotation(6, 2), annotation(7, 1)],
        "categories": CATEGORIES,
    }
    assert checking.without(content, {2}) == {
        **content,
        "images": [image(1), image(3)],
        "annotations": [annotation(5, 3), annotation(7, 1)],
    }


@pytest.mark.slow
def test_broken_and_wrong_images_are_dead_letters(tmp_path):
    for number in (1, 2, 3, 4):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"")
    Image.new("RGB", (20, 11)).save(tmp_path / "3.png")
    annotations = [annotation(i, i) for i in (1, 2, 3, 4)]
    content = {"images": [image(i) for i in (1, 2, 3, 4)], "annotations": annotations}
    source = tmp_path / "a.json"
    source.write_text(json.dumps({**content, "categories": CATEGORIES}))
    output = tmp_path / "checks"
    counts = checking.check(str(tmp_path), str(source), str(output), reading=Reading())
    assert (counts["images"], counts["predicted"], counts["dead_letters"]) == (4, 2, 2)
    dead = [json.loads(line) for line in (output / "dead_letters.jsonl").read_text().splitlines()]
    assert [one["file_name"] for one in dead] == ["2.png", "3.png"]
    assert "height=10. Received: width=20, height=11" in dead[1]["error"]
    good = json.loads((output / checking.GOOD).read_text())
    assert [one["id"] for one in good["images"]] == [1, 4]
    assert [one["id"] for one in good["annotations"]] == [1, 4]
