"""Converts COCO jsons to TFDS records with Apache Beam (docs/cluster.md).

    python examples/beam/to_tfds.py --name=cells --data_dir=records \\
        --split train images/train train.json --split val images/val val.json \\
        --runner=FnApiRunner --direct_running_mode=multi_processing --direct_num_workers=4

All other flags are Beam's: the runner and its options.
"""

import argparse
import sys

from keras_maskrcnn.cluster import attempts


def main():
    """Runs the program again in a process of its own, as often as workers are lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument("--data_dir", required=True, help="folder of TFDS data sets")
    split = ("SPLIT", "IMAGES", "JSON")
    parser.add_argument("--split", nargs=3, action="append", required=True, metavar=split)
    parser.add_argument("--num_shards", type=int, help="files per split")
    parser.add_argument("--channels", type=int, default=3, help="bands of the images")
    parser.add_argument("--image_dtype", default="uint8", help="uint8, uint16 or float32")
    parser.add_argument("--pixel_max", type=float, help="value of a white pixel")
    parser.add_argument("--mask_size", type=int, default=112, help="side of the mask crops")
    parser.add_argument("--shard_size", type=int, default=256, help="images per file of checks")
    parser.add_argument("--read_attempts", type=int, default=3, help="tries to read a file")
    parser.add_argument("--retry_dead", action="store_true", help="read dead letters again")
    parser.add_argument("--attempts", type=int, default=3, help="runs, if workers are lost")
    args, beam_flags = parser.parse_known_args()
    sys.exit(attempts.repeated(lambda: convert(args, beam_flags), args.attempts))


def convert(args, beam_flags):
    """Runs the pipelines once, and prints the counts."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from keras_maskrcnn.cluster import records

    counts = records.convert(
        args.name,
        {split: (images, annotations) for split, images, annotations in args.split},
        args.data_dir,
        num_shards=args.num_shards,
        channels=args.channels,
        image_dtype=args.image_dtype,
        pixel_max=args.pixel_max,
        mask_size=args.mask_size,
        shard_size=args.shard_size,
        read_attempts=args.read_attempts,
        retry_dead=args.retry_dead,
        options=PipelineOptions(beam_flags),
    )
    for split, found in counts.items():
        print(
            f"{split}: {found['predicted']} records of {found['images']} images;"
            f" {found['dead_letters']} dead letters."
        )


if __name__ == "__main__":
    main()
