"""Converts COCO jsons to TFDS records with Beam, without the images that cannot be read."""

from collections.abc import Mapping
from typing import Any

from keras_maskrcnn.cluster import checking, storage
from keras_maskrcnn.cluster.extra import explained
from keras_maskrcnn.data.bands import Reading

with explained():
    from apache_beam.options.pipeline_options import PipelineOptions

CHECKS = "checks"
"""Folder in `data_dir` of what was found out about the images."""


def convert(
    name: str,
    splits: Mapping[str, tuple[str, str]],
    data_dir: str,
    *,
    num_shards: int | None = None,
    channels: int = 3,
    image_dtype: str = "uint8",
    pixel_max: float | None = None,
    mask_size: int = 112,
    shard_size: int = 256,
    read_attempts: int = 3,
    retry_dead: bool = False,
    options: PipelineOptions | None = None,
) -> dict[str, dict[str, int]]:
    """Builds the TFDS data set `coco_instances/NAME` on any runner of Beam.

    All images are decoded first. The records then have all images but the broken ones, which
    `checks/NAME/SPLIT/dead_letters.jsonl` lists. A second call continues with the images that were
    not checked and the shards that were not written.

    Args:
        name: str. Name of the data set.
        splits: dict of split name to (folder of images, json file). Workers must see the images and
            `data_dir` as files under these paths, for instance in a shared folder.
        data_dir: str. Folder of TFDS data sets.
        num_shards: int. Files per split. None: TFDS chooses.
        channels, image_dtype, pixel_max, mask_size: as in `data.tfds_coco.CocoConfig`.
        shard_size, read_attempts, retry_dead, options: as in `checking.check`.

    Returns:
        dict of split to a dict of numbers, as from `Answers.counts`. `predicted` is the number of
            records.

    Raises:
        DataError: if a json or an annotation cannot be used, or no image of a split can be read.
        ValueError: if an argument is not as above, or the data set exists with other images.
        RuntimeError: if images are lost; and what Beam's runner raises.
    """
    import tensorflow_datasets as tfds

    from keras_maskrcnn.data import tfds_coco

    for paths in splits.values():
        if remote := next(filter(storage.is_remote, (*paths, data_dir)), None):
            raise ValueError(
                "images, annotations and data_dir must be in folders that all workers see; mount "
                f"a bucket. Received: {remote!r}."
            )
    data_dir = storage.absolute(data_dir)
    fields: dict[str, Any] = {
        "channels": channels,
        "image_dtype": image_dtype,
        "pixel_max": pixel_max,
    }
    counts, good = {}, {}
    for split, (images, annotations) in splits.items():
        images, annotations = storage.absolute(images), storage.absolute(annotations)
        folder = storage.join(data_dir, CHECKS, name, split)
        counts[split] = checking.check(
            images,
            annotations,
            folder,
            reading=Reading(**fields),
            shard_size=shard_size,
            read_attempts=read_attempts,
            retry_dead=retry_dead,
            options=options,
        )
        good[split] = images, storage.join(folder, checking.GOOD)
    config = tfds_coco.CocoConfig(name=name, splits=good, mask_size=mask_size, **fields)
    builder = tfds.builder("coco_instances", config=config, data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=num_shards, beam_options=options)
    )
    for split, expected in counts.items():
        found = builder.info.splits[split].num_examples if split in builder.info.splits else 0
        if found != expected["predicted"]:
            raise ValueError(
                f"{builder.data_path} was built of other images; give another name, or delete it. "
                f"Received: {found} records and {expected['predicted']} images in {split!r}."
            )
    return counts
