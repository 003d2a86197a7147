"""Names of classes: read from lists and files, and compared with those of a training."""

import os
import re
import reprlib
import unicodedata
from collections.abc import Mapping
from typing import Any

from absl import logging

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import read_lines, read_text
from keras_maskrcnn.typing import ClassNames

_NO_NAME = re.compile(r"class \d+", re.IGNORECASE)


def compare_names(names: Mapping[Any, str], known: Mapping[Any, str], where: str) -> None:
    """Compares the names of classes with those of a training, by category id.

    Names are compared as in `plain_name`. Where one side has no name of its own ("class 1", the id,
    or none at all), there is nothing to compare, which is logged.

    Args:
        names, known: dict of category id to name, here and in training. Ids of one alone don't
            count.
        where: str. What messages begin with.

    Raises:
        DataError: if a category has another name; the message has the id and both names.
    """
    unnamed = []
    for identity in [identity for identity in names if identity in known]:
        pair = [str(n[identity]).strip() for n in (names, known)]
        if plain_name(pair[0]) == plain_name(pair[1]):
            continue
        if any(name in ("", str(identity)) or _NO_NAME.fullmatch(name) for name in pair):
            unnamed.append(identity)
            continue
        raise DataError(
            f"{where}: category {identity} was {known[identity]!r} in training, and the same id"
            f" must be the same class. Received: name={names[identity]!r}.",
            "other class name",
        )
    if unnamed:
        logging.warning(
            "%s: %d classes have no name here or in training (category ids %s): nothing tells"
            " whether they are the same.",
            where,
            len(unnamed),
            reprlib.repr(unnamed),
        )


def plain_name(name: object) -> str:
    """Returns the name of a class without what tools write in their own ways.

    These are capitals, spaces, "_" and "-" in place of a space, and Unicode's forms of an accent.
    """
    name = unicodedata.normalize("NFKC", str(name)).casefold()
    return " ".join(re.sub("[-_]", " ", name).split())


def read_class_names(class_names: ClassNames | None, first_id: int = 1) -> dict[int, str] | None:
    """Brings the names of classes into one form.

    Args:
        class_names: sequence of str, for the categories `first_id`, `first_id` + 1, ...; dict of
            category id to name; path of a text file with a name in each line (but those that begin
            with #), or of a YAML file with `names:`, as YOLO's data.yaml; or None.
        first_id: int.

    Returns:
        Dict of int to str in the given order, or None.
    """
    if class_names is None:
        return None
    where = "class_names"
    if isinstance(class_names, str | os.PathLike):
        where = os.fspath(class_names)
        is_yaml = where.lower().endswith((".yaml", ".yml"))
        class_names = _yaml_names(read_text(where), where) if is_yaml else read_lines(where)
    if not isinstance(class_names, dict):
        class_names = dict(enumerate(class_names, start=first_id))
    names = list(class_names.values())
    if (
        not all(isinstance(name, str) and name for name in names)
        or not all(isinstance(identity, int) for identity in class_names)
        or not 0 < len(names) == len(set(names))
    ):
        raise DataError(
            f"{where}: classes need a name of their own each."
            f" Received: {reprlib.repr(class_names)}."
        )
    return class_names


def _yaml_names(text, path):
    """Reads `names` of a YAML file: a list of names, or a map of numbers to names.

    A name is what the file says, even where YAML takes it for another type: no, 1.0, null.
    """
    import yaml

    try:
        # Nodes and not values: no tag is followed, and a number that is there twice is seen.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as YAML. Received: {reason}.") from error
    fields = root.value if isinstance(root, yaml.MappingNode) else []
    node = next((value for key, value in fields if key.value == "names"), None)
    keys, names = None, None
    if isinstance(node, yaml.SequenceNode):
        names = node.value
    elif isinstance(node, yaml.MappingNode):
        keys, names = [key.value for key, _ in node.value], [name for _, name in node.value]
    if names is None or not _are_texts(names) or not (keys is None or _are_numbers(keys)):
        received = text if node is None else text[node.start_mark.index : node.end_mark.index]
        raise DataError(
            f"{path}: names must be a list, or a map of numbers to names."
            f" Received: {received[:40]!r}."
        )
    names = [name.value for name in names]
    return names if keys is None else dict(zip(map(int, keys), names, strict=True))


def _are_texts(nodes):
    return all(node.tag == "tag:yaml.org,2002:str" for node in nodes)


def _are_numbers(keys):
    decimal = all(isinstance(key, str) and key.isdecimal() for key in keys)
    return decimal and len(set(map(int, keys))) == len(keys)
