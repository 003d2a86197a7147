"""Predicts a folder or a list of images with Apache Beam (docs/cluster.md).

    python examples/beam/predict.py --model=served/1 --input=photos --output=answers \\
        --runner=FnApiRunner --direct_running_mode=multi_processing --direct_num_workers=4

All other flags are Beam's: the runner and its options.
"""

import argparse
import sys

from keras_maskrcnn.cluster import attempts


def main():
    """Runs the program again in a process of its own, as often as workers are lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--model", required=True, help="SavedModel folder, .onnx or .xml file")
    parser.add_argument("--input", required=True, help="folder, or .txt file with a URI per line")
    parser.add_argument("--output", required=True, help="folder for the answers")
    parser.add_argument("--runtime", help="onnxruntime, openvino or tensorflow")
    parser.add_argument("--threads", type=int, help="threads of the runtime in each worker")
    parser.add_argument("--batch_size", type=int, default=1, help="images of one size at once")
    parser.add_argument("--orientation", choices=("ignore", "apply"), default="ignore")
    parser.add_argument("--shard_size", type=int, default=64, help="images per file of answers")
    parser.add_argument("--read_attempts", type=int, default=3, help="tries to read a file")
    parser.add_argument("--retry_dead", action="store_true", help="read dead letters again")
    parser.add_argument("--attempts", type=int, default=3, help="runs, if workers are lost")
    args, beam_flags = parser.parse_known_args()
    sys.exit(attempts.repeated(lambda: predict(args, beam_flags), args.attempts))


def predict(args, beam_flags):
    """Runs the pipeline once, and prints the counts."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from keras_maskrcnn.cluster import predicting

    counts = predicting.predict(
        args.model,
        args.input,
        args.output,
        runtime=args.runtime,
        threads=args.threads,
        batch_size=args.batch_size,
        orientation=args.orientation,
        shard_size=args.shard_size,
        read_attempts=args.read_attempts,
        retry_dead=args.retry_dead,
        options=PipelineOptions(beam_flags),
    )
    print(
        f"{counts['detections']} detections in {counts['predicted']} of {counts['images']} images;"
        f" {counts['dead_letters']} dead letters; answers in {args.output}."
    )


if __name__ == "__main__":
    main()
