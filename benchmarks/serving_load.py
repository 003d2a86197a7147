"""Tests a served model with thousands of requests from several clients, some of them bad.

    python benchmarks/serving_load.py --requests=10000 --clients=8 --api=grpc

It exports a small model and serves it with examples/serve/reference_server.py in a separate
process. Each of `--clients` threads has its own client. A request has one or two images of several
sizes; 5 % of the requests are bad and must be refused. Every answer is compared with the model's
result for that image alone. It prints JSON:

- the number of answers that were right, wrong (also any answer to a bad request), and lost (no
  answer, or an error of the server);
- milliseconds, and requests per second;
- the server's resident memory in MiB, as the mean over the first and over the last tenth of the
  answers.

The exit status is 1 unless all answers were right.
"""

import collections
import concurrent.futures
import json
import pathlib
import random
import sys
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

import keras_maskrcnn as mrcnn
from keras_maskrcnn.data.images import read_image

ROOT = pathlib.Path(__file__).parents[1]
sys.path += [str(ROOT / "examples" / "serve"), str(ROOT / "tests")]
from client import GrpcClient, RestClient, ServingError  # noqa: E402
from serving import broken_images, encoded, reference_server, wrong_requests  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_integer("requests", 10_000, "Requests that are counted.")
flags.DEFINE_integer("clients", 8, "Threads that send requests at the same time.")
flags.DEFINE_enum("api", "grpc", ["grpc", "rest"], "API of the requests.")
BAD_SHARE = 0.05
# Height, width. The first three have one aspect ratio, so that two of them in a batch need no
# padding. Convolutions see padding, so the answer would differ from that of each image alone.
SIZES = ((64, 96), (128, 192), (480, 720), (96, 64), (64, 64), (240, 320))
REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "400")
Answer = collections.namedtuple("Answer", "finished milliseconds outcome bad server_pages")


def small_model():
    """Returns a small model with all parts, random weights and many detections."""
    keras.utils.set_random_seed(0)
    return mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small",
        num_classes=3,
        image_min_side=64,
        image_max_side=96,
        fpn_channels=16,
        box_head_units=32,
        mask_head_convs=1,
        mask_head_channels=16,
        test_pre_nms=50,
        test_proposals=40,
        detections_per_image=10,
        score_threshold=0.0,
    )


def good_requests(model):
    """Returns a list of (signature, inputs, expected outputs)."""
    images = [
        encoded(*size, kind, seed=i) for i, size in enumerate(SIZES) for kind in ("JPEG", "PNG")
    ]
    alone = []
    for image in images:
        outputs = model(read_image("image", image)[None], training=False)
        alone.append({name: np.asarray(value) for name, value in outputs.items()})
    requests = [([image], outputs) for image, outputs in zip(images, alone, strict=True)]
    for i in range(2, 6):  # two images of one aspect ratio and different sizes
        both = {name: np.concatenate([alone[i - 2][name], alone[i][name]]) for name in alone[i]}
        requests.append(([images[i - 2], images[i]], both))
    return [("serve_image_bytes", {"image_bytes": x}, outputs) for x, outputs in requests]


def bad_requests():
    """Returns a list of (signature, inputs, None)."""
    requests = [("serve_image_bytes", {"image_bytes": [x]}, None) for x in broken_images().values()]
    wrong = wrong_requests()
    del wrong["wrong channels"]  # an array, which JSON does not have
    return requests + [(*request, None) for request in wrong.values()]


def ask(client, signature, inputs, expected, statm):
    """Sends one request, and judges the answer."""
    found, started = None, time.perf_counter()
    try:
        found = client.predict(inputs, signature)
        refused = False
    except (OSError, ServingError) as error:
        refused = getattr(error, "code", None) in REFUSALS
    finished = time.perf_counter()
    if found is None and not refused:
        outcome = "lost"
    elif expected is None:
        outcome = "right" if refused else "wrong"
    else:
        outcome = "right" if found is not None and same(found, expected) else "wrong"
    pages = int(statm.read_text().split()[1])
    return Answer(finished, 1000 * (finished - started), outcome, expected is None, pages)


def same(found, expected):
    """Returns whether all outputs agree, with the tolerance of tests/export."""
    return set(found) == set(expected) and all(
        np.allclose(found[name], value, atol=1e-4) for name, value in expected.items()
    )


def percentiles(answers):
    """Returns percentiles of the answers' milliseconds."""
    if not answers:
        return None
    values = np.percentile([answer.milliseconds for answer in answers], [50, 90, 99, 100])
    return dict(zip(("p50", "p90", "p99", "max"), values.round(1).tolist(), strict=True))


def main(_):
    """Serves the model, sends the requests, and prints the report."""
    model = small_model()
    good, bad = good_requests(model), bad_requests()
    count = round(BAD_SHARE * FLAGS.requests)
    plan = [bad[i % len(bad)] for i in range(count)]
    plan += [good[i % len(good)] for i in range(FLAGS.requests - count)]
    random.Random(0).shuffle(plan)
    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/1", verbose=False)
        with reference_server(folder) as (process, ready):
            statm = pathlib.Path(f"/proc/{process.pid}/statm")
            if FLAGS.api == "grpc":
                clients = [GrpcClient(f"localhost:{ready['port']}") for _ in range(FLAGS.clients)]
            else:
                address = f"localhost:{ready['rest_api_port']}"
                clients = [RestClient(address) for _ in range(FLAGS.clients)]

            def ask_in_turn(client, requests):
                return [ask(client, *request, statm) for request in requests]

            with concurrent.futures.ThreadPoolExecutor(FLAGS.clients) as pool:
                # This round is not counted: memory and speed settle after every thread has seen
                # every size.
                for _ in pool.map(ask_in_turn, clients, [good + bad] * FLAGS.clients):
                    pass
                shares = [plan[k :: FLAGS.clients] for k in range(FLAGS.clients)]
                started = time.perf_counter()
                answers = sum(pool.map(ask_in_turn, clients, shares), [])
            crashed = process.poll() is not None
    answers.sort()
    tenth = max(1, len(answers) // 10)
    first, last = (
        np.mean([answer.server_pages for answer in part]) * 4096 / 2**20
        for part in (answers[:tenth], answers[-tenth:])
    )
    outcomes = collections.Counter(answer.outcome for answer in answers)
    report = {
        "requests": len(plan),
        "bad": count,
        "clients": FLAGS.clients,
        "api": FLAGS.api,
        **{outcome: outcomes[outcome] for outcome in ("right", "wrong", "lost")},
        "crashed": crashed,
        "requests_a_second": round(len(answers) / (answers[-1].finished - started), 1),
        "milliseconds_good": percentiles([answer for answer in answers if not answer.bad]),
        "milliseconds_bad": percentiles([answer for answer in answers if answer.bad]),
        "rss_mib_first_tenth": round(first, 1),
        "rss_mib_last_tenth": round(last, 1),
    }
    print(json.dumps(report))
    return 0 if outcomes["right"] == FLAGS.requests and not crashed else 1


if __name__ == "__main__":
    app.run(main)
