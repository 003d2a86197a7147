"""Reads class names from lists and files, and compares them with the names used in training."""

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
    """Compares class names with those used in training, by category id.

    Names are compared by `plain_name`. If one side has no real name ("class 1", the id, or an empty
    name), the two cannot be compared; this is logged.

    Args:
        names, known: dict of category id to name, here and in training. Ids that only one of them
            has are ignored.
        where: str. The beginning of messages.

    Raises:
        DataError: if a category has another name. The message has the id and both names.
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
            "%s: %d classes have no name here or in training (category ids %s), so it cannot be"
            " checked that they are the same.",
            where,
            len(unnamed),
            reprlib.repr(unnamed),
        )


def plain_name(name: object) -> str:
    """Returns a class name without the differences between tools.

    These are capital letters, extra spaces, "_" or "-" for a space, and the two ways in which
    Unicode writes accents.
    """
    name = unicodedata.normalize("NFKC", str(name)).casefold()
    return " ".join(re.sub("[-_]", " ", name).split())


def read_class_names(class_names: ClassNames | None, first_id: int = 1) -> dict[int, str] | None:
    """Reads class names into a dict.

    Args:
        class_names: one of

            - a sequence of str, for the categories `first_id`, `first_id` + 1, ...;
            - a dict of category id to name;
            - the path of a text file with one name per line; lines that begin with # are ignored;
            - the path of a YAML file with `names:`, such as YOLO's data.yaml;
            - None.
        first_id: int. The category id of the first name of a sequence or a list.

    Returns:
        Dict of category id to name, in the given order. None for None.

    Raises:
        DataError: if a file cannot be read, or names are not distinct and not empty.
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
            f"{where}: every class needs its own name. Received: {reprlib.repr(class_names)}."
        )
    return class_names


def _yaml_names(text, path):
    """Reads `names` of a YAML file: a list of names, or a map of numbers to names.

    A name is the text in the file, even if YAML reads it as another type: no, 1.0, null.
    """
    import yaml

    try:
        # Nodes and not values: so no tag is followed, and repeated numbers are noticed.
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
