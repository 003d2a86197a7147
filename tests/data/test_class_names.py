"""data/class_names.py: class names from lists and files, and from training."""

import pytest

from keras_maskrcnn.data.class_names import compare_names, read_class_names
from keras_maskrcnn.data.errors import DataError


def test_names_are_a_list_a_dict_or_lines():
    assert read_class_names(None) is None
    assert read_class_names(["a", "b"]) == {1: "a", 2: "b"}
    assert read_class_names(["a", "b"], first_id=0) == {0: "a", 1: "b"}
    assert read_class_names({7: "a"}) == {7: "a"}


def test_names_in_a_text_file_are_its_lines(tmp_path):
    (tmp_path / "classes.txt").write_text("a cat\r\n\n dog \n", encoding="utf-8-sig")
    assert read_class_names(tmp_path / "classes.txt") == {1: "a cat", 2: "dog"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a cat, 'dog', \"e-f\"]\nnc: 3", ["a cat", "dog", "e-f"]),
        ("path: ../x\nnames: [\n  cat,\n  dog,\n]  # all", ["cat", "dog"]),
        ("names: {0: cat, 1: dog}", ["cat", "dog"]),
        ("nc: 2\n\nnames:\n  0: cat  # small\n  1: 'the dog'\ntrain: x", ["cat", "the dog"]),
        ("names:\n- cat\n# and\n\n- dog\nnc: 2", ["cat", "dog"]),
        ("names:   # two\n  - cat\n  - dog", ["cat", "dog"]),
        ("names: ['a, b', \"c\\td\", it's]", ["a, b", "c\td", "it's"]),
        ("names: [yes, no, on, 1, 1.0, null, ~, 2020-01-01]", "yes no on 1 1.0 null ~ 2020-01-01"),
        ("x: &all [cat, dog]\ny: !!python/object:os.system {}\nnames: *all", ["cat", "dog"]),
        ("download: |\n  names: x\nnames:\n  1: dog\n  0: cat", {1: "dog", 0: "cat"}),
    ],
)
def test_names_of_a_yaml_file(tmp_path, text, names):
    (tmp_path / "data.yaml").write_text(text)
    names = names.split() if isinstance(names, str) else names
    names = names if isinstance(names, dict) else dict(enumerate(names))
    assert list(read_class_names(tmp_path / "data.yaml", first_id=0).items()) == list(names.items())


@pytest.mark.parametrize(
    "text",
    [
        "nc: 2",
        "names: 3",
        "names: cat",
        "names: [cat, [dog]]",
        "names:\n  0: !!python/object cat",
        "names:\n  0: {cat: dog}",
        "names:\n  0: cat\n  0: dog",
        "names:\n  animals:\n    0: cat",
        "names: |\n  cat",
        "names:\n  0: cat\n  00: dog",
        "names:\n  -1: cat",
        "- names: [cat]",
        "names: [!!python/object:os.system cat]",
        "names: !!str\n  [cat]: dog",
    ],
)
def test_yaml_beyond_that_is_refused_and_not_guessed(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match="data.yaml: names must be a list, or a map of numbers"):
        read_class_names(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "names: *others",
        "names: [cat",
        "names:\n  0: cat\n  - dog",
        "names: [a]\n---\nnames: [b]",
        "names: [a\x00]",
        "names: " + "[" * 5_000,
    ],
)
def test_a_file_that_is_no_yaml_is_one_line(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data.yaml: cannot be read as YAML. Received: .*\.$") as e:
        read_class_names(tmp_path / "data.yaml")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_yaml_is_read_in_the_encodings_of_other_text(tmp_path, encoding):
    (tmp_path / "data.yaml").write_bytes("names:\r\n- zwölf\r\n- elf".encode(encoding))
    assert read_class_names(tmp_path / "data.yaml") == {1: "zwölf", 2: "elf"}


@pytest.mark.parametrize("names", [[], ["a", "a"], [""], [1], {"x": "a"}])
def test_names_that_are_missing_or_not_unique_are_refused(names):
    with pytest.raises(ValueError, match="class_names: every class needs its own name"):
        read_class_names(names)


@pytest.mark.parametrize(
    ("ours", "theirs", "unnamed"),
    [
        ("traffic_light", "traffic light", False),
        ("Traffic-Light", "traffic light", False),
        ("caf\u00e9", "cafe\u0301", False),
        (" cow\t", "COW", False),
        ("class 3", "disk", True),
        ("", "disk", True),
        (4, "disk", True),
    ],
)
def test_names_that_tools_write_otherwise_are_the_same(ours, theirs, unnamed, caplog):
    compare_names({4: ours}, {4: theirs}, "a.json")
    compare_names({4: theirs}, {4: ours}, "a.json")
    assert caplog.text.count("it cannot be checked that they are the same") == 2 * unnamed


@pytest.mark.parametrize(("ours", "theirs"), [("class_1", "class_2"), ("3", "disk"), ("a", "ä")])
def test_other_names_are_other_classes(ours, theirs):
    with pytest.raises(DataError, match=f"category 4 was '{theirs}' in training"):
        compare_names({4: ours}, {4: theirs}, "a.json")
