"""The command `compare`."""

import os
from typing import Any

from absl import flags

from keras_maskrcnn.cli import inputs, outputs, paths, pictures
from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.data.bands import MAX_CHANNELS


def compare(options: flags.FlagValues) -> None:
    """Tells whether model B is better than model A, with intervals, and on which images."""
    from keras_maskrcnn import analysis
    from keras_maskrcnn.data.text import read_json

    names = _names(options)
    if options.pictures and not options.images:
        raise ValueError(f"--pictures needs --images. Received: pictures={options.pictures}.")
    pictures.check_look(options)
    pictures.refuse_filled(options, options.images or os.devnull)
    if not options.model:
        for path in options.results:
            paths.require_file("results", path)
    path = os.path.join(options.output, "comparison.json")
    paths.refuse_inputs(options, path)
    annotations = read_json(options.annotations)
    both = [_predict(options, path) for path in options.model] or options.results
    compared = analysis.compare(
        both[0],
        both[1],
        annotations,
        max_detections=options.max_detections,
        score_threshold=options.score_threshold,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=options.seed,
        verbose=outputs.verbosity(options),
    )
    if options.pictures:
        _draw(options, compared, both, annotations)
    outputs.write_output(path, {**names, **compared}, 1)
    if not options.quiet:
        _print(names, compared)
        print(f"comparison.json is in {options.output}; see docs/comparing.md.")


def _names(options):
    """Returns the names of A and B, or raises ValueError if there are not two."""
    given = [name for name in ("model", "results") if getattr(options, name)]
    if len(given) != 1 or len(getattr(options, given[0])) != 2:
        received = {name: list(getattr(options, name) or ()) for name in ("results", "model")}
        raise ValueError(
            "compare needs two files of results, or --model=A.keras --model=B.keras. "
            f"Received: results={received['results']}, model={received['model']}."
        )
    if given == ["model"] and not options.images:
        raise ValueError(f"--model needs --images. Received: model={options.model}.")
    return dict(zip("ab", getattr(options, given[0]), strict=True))


def _predict(options: flags.FlagValues, path: str) -> list[dict[str, Any]]:
    """Returns the COCO results of a model."""
    from keras_maskrcnn.evaluation import predict_dataset

    model = inputs.load_model(path)
    if model.config.detections_per_image < options.max_detections:
        model = model.with_config(detections_per_image=options.max_detections)
    dataset = inputs.read_dataset(options, model.config)
    found = predict_dataset(
        model, dataset, verbose=outputs.verbosity(options) % 2, on_error=options.on_error
    )
    outputs.report_unreadable(dataset.skipped, outputs.count_images(dataset), options)
    return found


def _draw(options, compared, both, annotations):
    """Writes the pictures of the images with the largest changes, and names them in `compared`."""
    from keras_maskrcnn import visualize
    from keras_maskrcnn.analysis.change_pictures import side_by_side
    from keras_maskrcnn.evaluation.result_lists import read_result_list

    thresholds = compared["score_thresholds"]
    results = {
        key: [
            result
            for result in read_result_list(given, annotations)
            if result["score"] >= thresholds[key]
        ]
        for key, given in zip("ab", both, strict=True)
    }
    look = _look(options)
    names = {c["id"]: str(c.get("name", c["id"])) for c in annotations["categories"]}
    chosen = [
        (f"{kind}_{i + 1:03}.png", entry)
        for kind in ("better", "worse")
        for i, entry in enumerate(compared["images"][kind][: options.pictures])
    ]
    for picture, entry in chosen:
        picked = {
            key: [r for r in found if r["image_id"] == entry["image_id"]]
            for key, found in results.items()
        }
        objects = [a for a in annotations["annotations"] if a["image_id"] == entry["image_id"]]
        titles = {key: f"{key.upper()}: {entry[key]:.3f}" for key in picked}
        image = os.path.join(options.images, entry["file_name"])
        drawn = side_by_side(image, objects, picked, names, titles, **look)
        visualize.save_png(os.path.join(options.output, picture), drawn)
        entry["picture"] = picture


def _look(options):
    """Returns the arguments `bands` and `stretch` of `as_rgb`."""
    from keras_maskrcnn.visualize.look import checked_bands, checked_stretch

    bands = None
    if options.bands is not None:
        bands = tuple(band + 1 for band in checked_bands(options.bands, MAX_CHANNELS))
    stretch = options.stretch
    if stretch is not None:
        stretch = "none" if stretch == ["none"] else checked_stretch(stretch)
    return {"bands": bands, "stretch": stretch}


def _print(names, compared):
    """Prints the comparison: what was compared, then a line per number."""
    print(f"A: {names['a']}\nB: {names['b']}")
    percent = f"{100 * compared['confidence']:g} %"
    print(f"{'':24} {'A':>7} {'B':>7} {'B - A':>8}   {percent + ' interval':<20} p")
    for name, entry in compared["metrics"].items():
        if entry["difference"] is None:
            print(f"{name:<24}  nothing to find")
            continue
        interval = f"{entry['low']:+.4f} to {entry['high']:+.4f}"
        print(
            f"{name:<24} {entry['a']:7.4f} {entry['b']:7.4f} {entry['difference']:+8.4f}   "
            f"{interval:<20} {entry['p']:.3g}"
        )
    images = compared["images"]
    print(
        f"{len(images['better'])} images got better, {len(images['worse'])} worse, "
        f"{images['unchanged']} stayed as they are."
    )


def compare_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `compare`."""
    define = Definer(values)
    define.words(
        "results",
        "The results of A and of B: COCO results, such as predictions.json of `predict "
        "--score_threshold=0`. Usually given as words: compare A.json B.json --annotations=...",
    )
    define.strings("model", "In place of results: --model=A.keras --model=B.keras.")
    define.string("annotations", None, "COCO json of the images.", required=True)
    define.string("images", None, "Folder of the images, for --model and --pictures.")
    define.string("output", None, "Folder for comparison.json and the pictures.", required=True)
    define.integer(
        "pictures", 0, "Pictures of so many images that got better, and that got worse.", low=0
    )
    define.integer("resamples", 1000, "Draws of the bootstrap.", low=1)
    define.float("confidence", 0.95, "Probability of the intervals.", low=0.5, high=0.999)
    define.integer("seed", 0, "Of the draws.", low=0)
    define.integer("max_detections", 100, "Detections per image that count.", low=11)
    define.float(
        "score_threshold",
        None,
        "Detections below it do not count when images are ranked. Default: for each model the "
        "score with its best F1.",
        low=0,
        high=1,
    )
    define.crowds()
    define.orientation(None)
    pictures.look_flags(define)
    define.on_error("The other images are compared in both cases.")
    define.boolean("overwrite", False, "Write into --output even if it is not empty.")
