"""Strategies, and the worker processes that share a strategy."""

import json
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multi_worker")
"""Names that `make_strategy` knows."""


def make_strategy(name: str, devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Makes a strategy. Build and compile a model in its scope.

    Args:
        name: "none": one device. "mirrored": `devices`, or all GPUs of this machine.
            "multi_worker": all machines in the environment variable TF_CONFIG; make this one before
            TensorFlow does anything else.
        devices: sequence of str, for instance "GPU:0"; only with "mirrored".

    Returns:
        tf.distribute.Strategy.

    Raises:
        ValueError: if there is no such strategy or device, the strategy takes no `devices`, or
            TF_CONFIG and the strategy contradict each other.
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"strategy must be one of {', '.join(STRATEGIES)}. Received: strategy={name!r}."
        )
    if devices and name != "mirrored":
        raise ValueError(f"devices need strategy='mirrored'. Received: strategy={name!r}.")
    _, workers = _place_in_cluster()
    if (workers > 1) != (name == "multi_worker"):
        raise ValueError(
            "strategy='multi_worker' and a TF_CONFIG with several workers need each other. "
            f"Received: strategy={name!r}, {workers} workers in TF_CONFIG."
        )
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        known = [d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()]
        for device in devices or ():
            if device not in known:  # TensorFlow would silently use another device
                raise ValueError(f"devices are {', '.join(known)}. Received: {device!r}.")
        return tf.distribute.MirroredStrategy(devices or None)
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Returns whether this process writes files: the only process, or TF_CONFIG's first worker."""
    return _place_in_cluster()[0] == 0


def worker(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """Returns (index, count): this worker's index, and the number of a strategy's workers.

    Without a strategy it is the only one.
    """
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return _place_in_cluster() if several else (0, 1)


def gather(strategy: tf.distribute.Strategy | None, items: list[Any]) -> list[Any]:
    """Joins the lists of all workers. Every worker must call it.

    Args:
        strategy: tf.distribute.Strategy, or None.
        items: list of values that JSON can hold.

    Returns:
        list. The first worker's items, then the second's, and so on.
    """
    if strategy is None or worker(strategy)[1] == 1:
        return items
    # Without items an empty line, so that no collective has only zero elements.
    lines = "".join(f"{json.dumps(item)}\n" for item in items).encode() or b"\n"
    # TensorFlow cannot gather bytes, but it can gather four of them as an int32.
    own = tf.io.decode_raw(lines + b"\n" * (-len(lines) % 4), tf.int32)
    first = worker(strategy)[0] * len(strategy.extended.worker_devices)
    values = strategy.experimental_distribute_values_from_function(
        lambda context: own if context.replica_id_in_sync_group == first else own[:0]
    )
    every = strategy.gather(values, axis=0).numpy().tobytes().decode()
    return [json.loads(line) for line in every.split("\n") if line]


def _place_in_cluster():
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    try:
        cluster = resolver.cluster_spec().as_dict()
    except json.JSONDecodeError as error:
        raise ValueError(f"the environment's TF_CONFIG is not JSON: {error}.") from error
    chiefs, workers = (len(cluster.get(kind, ())) for kind in ("chief", "worker"))
    index = (resolver.task_id or 0) + (chiefs if resolver.task_type == "worker" else 0)
    return index, max(1, chiefs + workers)
