import json

from keras_maskrcnn import cli


def test_convert_and_fix_make_their_folders(broken, capsys):
    read = [f"--images={broken / 'images'}", f"--annotations={broken / 'ann.json'}", "--quiet"]
    output = broken / "new" / "folder" / "a.json"
    assert cli.run(["convert", "--format=coco_json", *read, f"--output={output}"]) == 0
    assert len(json.loads(output.read_text())["images"]) == 3
    fixed = broken / "newer" / "fixed.json"
    cli.run(["validate", *read, f"--fix={fixed}"])  # b.png is an error
    assert json.loads(fixed.read_text())["images"]
