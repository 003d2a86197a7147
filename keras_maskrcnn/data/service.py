"""Reads batches through a tf.data service: its workers are other processes, on any machine."""

import socket

import tensorflow as tf

from keras_maskrcnn.data import origin

SECONDS = 10  # how long the dispatcher may take to answer


def through_service(
    batches: tf.data.Dataset, address: str, job_name: str | None = None
) -> tf.data.Dataset:
    """Lets the workers of a tf.data service make the batches.

    Each batch comes once, from one of the workers. Batches are those of `batches`, but with several
    workers in another sequence, which depends on how fast the workers are. If a worker is lost, the
    batches that it was making are lost too.

    Args:
        batches: what `data.batches(dataset, ..., training=True, steps=...)` returns. The data set
            is that of `tfds_dataset`, and the workers find its shards under the same paths.
        address: str. Host and port of the dispatcher, such as "10.0.0.5:5050".
        job_name: str. Several processes that pass the same name share the batches: each batch goes
            to one of them.

    Returns:
        tf.data.Dataset of the same elements, of unknown length.

    Raises:
        ValueError: if `batches` calls Python functions, or no dispatcher answers at the address.
    """
    if origin.calls_python(batches):
        raise ValueError(
            "batches must call no Python function: they need records of coco_instances 1.1.0 or"
            " later with their own mask_size, channels and image_dtype, steps in training, and"
            " neither proposals, cache=True, on_error='skip' nor Python functions in augment."
            " Received: batches that call Python functions."
        )
    address = address.removeprefix("grpc://")
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            "address must be host:port of a running dispatcher of tf.data."
            f" Received: address={address!r} ({error})."
        ) from error
    # Dynamic sharding divides the steps. Without compression: a network of data centers is faster.
    served = batches.apply(
        tf.data.experimental.service.distribute(
            "distributed_epoch", f"grpc://{address}", job_name=job_name, compression=None
        )
    )
    made_with, untouched = origin.made_with(batches)
    if made_with is not None and untouched:
        served.made_with = made_with
    return served
