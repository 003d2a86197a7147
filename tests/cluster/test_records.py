import pathlib
import runpy
import shutil
import subprocess
import sys

import pytest
from tiny_runs import make_shapes

pytest.importorskip("apache_beam", reason="needs the extra beam")

from keras_maskrcnn import data  # noqa: E402
from keras_maskrcnn.cluster import records  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_killed_workers_lose_no_record(tmp_path):
    """The records are byte for byte those of a build without Beam of the good images."""
    import tensorflow_datasets as tfds

    from keras_maskrcnn.data import tfds_coco

    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "cluster.py"))
    make_shapes(tmp_path / "shapes", train=300, val=4, size=64)
    folder, bad = tmp_path / "shapes", tmp_path / "shapes/train/000007.png"
    bad.write_bytes(bad.read_bytes()[:60])
    splits = {
        part: [str(folder / part), str(folder / f"annotations/{part}.json")]
        for part in ("train", "val")
    }
    command = [sys.executable, str(ROOT / "examples/beam/to_tfds.py"), "--name=shapes"]
    command += [f"--data_dir={tmp_path / 'records'}", "--num_shards=2", "--shard_size=16"]
    for split, paths in splits.items():
        command += ["--split", split, *paths]
    command += [*benchmark["DIRECT"], "--direct_num_workers=2"]
    checks = tmp_path / "records/checks/shapes/train"
    assert len(benchmark["run_and_kill"](command, checks, 300, kills=1)) == 1
    built = tmp_path / "records/coco_instances/shapes/1.1.0"
    train = data.tfds_dataset(built, "train")
    assert len(train) == 299 and "000007.png" not in train.file_names
    config = tfds_coco.CocoConfig(
        name="shapes",
        splits={s: (p[0], str(checks.parent / s / "annotations.json")) for s, p in splits.items()},
    )
    builder = tfds.builder("coco_instances", config=config, data_dir=tmp_path / "alone")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    alone = sorted((tmp_path / "alone/coco_instances/shapes/1.1.0").glob("*tfrecord*"))
    assert len(alone) == 4
    for path in alone:
        assert (built / path.name).read_bytes() == path.read_bytes()
    shutil.rmtree(tmp_path / "records/checks")
    good = tmp_path / "shapes/train/000008.png"
    bad.write_bytes(good.read_bytes())
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "was built of other images" in done.stderr


def test_a_bucket_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mount a bucket. Received: 'gs://x/train.json'"):
        records.convert("a", {"train": ("images", "gs://x/train.json")}, str(tmp_path))
