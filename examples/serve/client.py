"""Sends image files to a served model, and writes what it finds in them.

    python examples/serve/client.py --output=found photos/*.jpg
    python examples/serve/client.py --api=grpc --output=found --pictures photos/*.jpg

asks TensorFlow Serving's REST API, or its gRPC API, one image a request, and writes
found/predictions.json as `keras-maskrcnn predict` does: COCO results with file names. With
--pictures it also draws them. An image that the server refuses is named on stderr, and the exit
status is 1.

REST needs Python alone. gRPC needs tensorflow-serving-api, whose protos import TensorFlow. Pictures
need keras_maskrcnn, and so do the masks of a model that was exported with soft ones: they have to
be pasted into the image. Run lengths (masks="rle") are written as they come.
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request

PORTS = {"rest": 8501, "grpc": 8500}


class ServingError(Exception):
    """What the server answers instead of outputs.

    Attributes:
        code: str. The gRPC status, such as "INVALID_ARGUMENT", or the number of the HTTP status.
    """

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class RestClient:
    """Asks a model by REST.

    Args:
        address: str. HOST:PORT.
        model: str. The model's name.
        timeout: float. Seconds to wait for an answer.
    """

    def __init__(self, address, model="maskrcnn", timeout=60.0):
        self.address, self.timeout = address, timeout
        self.url = f"http://{address}/v1/models/{model}:predict"

    def predict(self, inputs, signature="serve_image_bytes"):
        """Asks once.

        Args:
            inputs: dict of input names to (nested lists of) numbers or bytes.
            signature: str.

        Returns:
            dict of output names to nested lists.

        Raises:
            ServingError: if the server refuses.
            OSError: if it cannot be reached.
        """
        body = json.dumps({"signature_name": signature, "inputs": inputs}, default=_base64)
        request = urllib.request.Request(
            self.url, body.encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)["outputs"]
        except urllib.error.HTTPError as error:
            content = error.read().decode(errors="replace")
            raise ServingError(str(error.code), content) from error


class GrpcClient:
    """Asks a model by gRPC. The arguments and the method are those of `RestClient`.

    It takes arrays too, and gives arrays.
    """

    def __init__(self, address, model="maskrcnn", timeout=60.0):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        # gRPC refuses answers above 4 MB by itself; soft masks of a few images are more.
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.address, self.model, self.timeout = address, model, timeout

    def predict(self, inputs, signature="serve_image_bytes"):
        """Asks once, see `RestClient`; a server that cannot be reached is a `ServingError` too."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self.stub.Predict(request, self.timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from error
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def coco_results(answer, path, category_ids=()):
    """Writes the detections of the first image of an answer as COCO results.

    Args:
        answer: dict of the model's outputs, lists or arrays: boxes (B, D, 4), scores (B, D), labels
            (B, D), num_detections (B,), and for masks rle (B, D) with sizes (B, 2), or masks
            (B, D, m, m); without any of these there is no "segmentation".
        path: path of the image, read only where masks (B, D, m, m) are pasted.
        category_ids: sequence of ints. What is written for label 1, 2, ...; empty writes the label.

    Returns:
        list of {"file_name", "category_id", "bbox" [x, y, w, h], "score", "segmentation"}; empty
        without detections.

    Raises:
        ImportError: if masks are to be pasted, and keras_maskrcnn is not installed.
    """
    name, count = pathlib.Path(path).name, int(answer["num_detections"][0])
    if "masks" in answer:
        import numpy as np

        from keras_maskrcnn import detections
        from keras_maskrcnn.data.images import read_image

        outputs = {key: np.asarray(value) for key, value in answer.items()}
        size = read_image(str(path)).shape[:2]
        results = detections.coco_results(outputs, 0, name, *size, category_ids)
        return [{"file_name": result.pop("image_id"), **result} for result in results]
    results = []
    for i in range(count):
        (x1, y1, x2, y2), label = map(float, answer["boxes"][0][i]), int(answer["labels"][0][i])
        results.append(
            {
                "file_name": name,
                "category_id": category_ids[label - 1] if category_ids else label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(answer["scores"][0][i]),
            }
        )
        if "rle" in answer:
            counts, size = answer["rle"][0][i], [int(side) for side in answer["sizes"][0]]
            counts = counts if isinstance(counts, str) else counts.decode("ascii")
            results[-1]["segmentation"] = {"size": size, "counts": counts}
    return results


def draw(path, results, picture, names):
    """Writes a picture of the results of one image.

    Args:
        path: path of the image.
        results: what `coco_results` returns for it.
        picture: path of the PNG to write.
        names: dict of category ids to class names; may be empty.
    """
    import numpy as np
    from pycocotools import mask as mask_api

    from keras_maskrcnn import visualize
    from keras_maskrcnn.data.images import read_image

    # All classes that have names, so that each has the same color in every picture.
    ids = sorted({*names, *(result["category_id"] for result in results)})
    things = {
        "boxes": [(x, y, x + w, y + h) for x, y, w, h in (result["bbox"] for result in results)],
        "scores": [result["score"] for result in results],
        "labels": [ids.index(result["category_id"]) + 1 for result in results],
        "class_names": [names.get(i, str(i)) for i in ids],
    }
    if results and "segmentation" in results[0]:
        things["masks"] = np.array([mask_api.decode(r["segmentation"]) for r in results], bool)
    visualize.save_png(picture, visualize.draw(read_image(str(path)), things))


def _base64(value):
    return {"b64": base64.b64encode(value).decode("ascii")}


def main():
    """Asks for every image, writes, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=pathlib.Path, help="JPEG or PNG files")
    parser.add_argument("--api", choices=PORTS, default="rest")
    parser.add_argument("--address", help="HOST:PORT; localhost and 8501 (rest) or 8500 (grpc)")
    parser.add_argument("--model_name", default="maskrcnn")
    parser.add_argument("--model_json", help="the export's assets.extra/model.json: category ids")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a new or empty folder")
    parser.add_argument("--pictures", action="store_true", help="draw the detections")
    args = parser.parse_args()
    if len({path.name for path in args.images}) < len(args.images):
        parser.error("images of one call must differ in their names, by which results tell them.")
    if args.output.is_dir() and any(args.output.iterdir()):
        parser.error(f"the output folder is not empty. Received: output={str(args.output)!r}.")

    known = {"class_names": [], "category_ids": []}
    if args.model_json:
        known = json.loads(pathlib.Path(args.model_json).read_text(encoding="utf-8"))
    ids = known["category_ids"]
    names = dict(zip(ids, known["class_names"], strict=True))
    address = args.address or f"localhost:{PORTS[args.api]}"
    client = (RestClient if args.api == "rest" else GrpcClient)(address, args.model_name)
    args.output.mkdir(parents=True, exist_ok=True)
    results, refused = [], 0
    for path in args.images:
        try:
            found = coco_results(client.predict({"image_bytes": [path.read_bytes()]}), path, ids)
        except (OSError, ServingError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            refused += 1
            continue
        except ImportError as error:
            parser.exit(
                1, f"soft masks are pasted by keras_maskrcnn, run lengths need none: {error}\n"
            )
        results += found
        if args.pictures:
            draw(path, found, args.output / f"{path.name}.png", names)
    with open(args.output / "predictions.json", "w", encoding="utf-8") as file:
        json.dump(results, file)
    done = len(args.images) - refused
    print(f"{len(results)} detections in {done} images, {refused} without an answer.")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
