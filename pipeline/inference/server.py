"""A small page on this machine: drop a photo, see its class and the training images nearest to it.

Only this machine can reach it (`pipeline.runtime.loopback`), and an upload must be an image of bounded size, sent by
the page itself.
"""

import base64
import io
import json
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np

from cache.errors import AugcacheError
from cache.layout import Array
from pipeline.inference.answers import Answerer
from pipeline.inference.measured import Measured
from pipeline.ingest.decode import DecodeOptions, decode
from pipeline.runtime.loopback import LoopbackHandler, loopback_server

MEGABYTES = 32  # that an upload may have
TOP = 5
NEAREST = 4


@dataclass(frozen=True)
class TrainingImages:
    """What an answer is compared with: images uint8 [n, h, w, 3], features float [n, d], class and file of each."""

    images: Array
    features: Array
    labels: list[str]
    files: list[str]

    def similarities(self, features: Array) -> Array:
        """float32 [n]: cosines of each row with features [d], both standardised."""
        mean = self.features.mean(axis=0)
        scale = np.maximum(self.features.std(axis=0), 1e-6)
        rows = (self.features - mean) / scale
        query = (features - mean) / scale
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        return np.asarray(rows @ query / np.maximum(lengths, 1e-6))


@dataclass(frozen=True)
class Service:
    """A classifier behind a page. page: its HTML. measured, training: None if they are not there."""

    answer: Answerer
    page: bytes
    options: DecodeOptions
    measured: Measured | None = None
    training: TrainingImages | None = None

    def describe(self, content: bytes) -> dict[str, Any]:
        """The answer for the bytes of an image file, as JSON has it. Raises Unreadable."""
        bundle = self.answer.bundle
        image = decode(content, bundle.size, self.options)
        answers = self.answer(image[None])
        row = answers.probabilities[0]
        order = np.argsort(-row, kind="stable")[:TOP]
        described: dict[str, Any] = {
            "classes": [{"name": bundle.classes[index], "probability": round(float(row[index]), 4)} for index in order]
        }
        if self.measured is not None and self.measured.known is not None:
            described["unknown"] = round(float(self.measured.known.scores(answers.features)[0]), 3)
        error = None if self.measured is None else self.measured.error_above(float(row.max()))
        if error is not None:
            described["measured"] = f"{error}"
        described["nearest"] = self._nearest(answers.features)
        return described

    def _nearest(self, features: Array) -> list[dict[str, Any]]:
        training = self.training
        if training is None or training.features.shape[1] != features.shape[1]:
            return []
        similarities = training.similarities(features[0])
        return [
            {
                "class": training.labels[row],
                "file": training.files[row],
                "similarity": round(float(similarities[row]), 3),
                "image": _jpeg_uri(training.images[row : row + 1][0]),
            }
            for row in np.argsort(-similarities, kind="stable")[:NEAREST].tolist()
        ]


def _jpeg_uri(pixels: Array) -> str:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()


def make_server(service: Service, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1; port 0 takes any that is free. Raises InputError if the port is taken."""
    lock = threading.Lock()  # one image at a time: a network uses every core already

    class Handler(_Handler):
        """Requests of one service."""

        def answer_page(self) -> bytes:
            return service.page

        def answer_image(self, content: bytes) -> dict[str, Any]:
            with lock:
                return service.describe(content)

    return loopback_server(Handler, port)


class _Handler(LoopbackHandler):
    def answer_page(self) -> bytes:
        raise NotImplementedError

    def answer_image(self, content: bytes) -> dict[str, Any]:
        raise NotImplementedError

    def do_GET(self) -> None:  # noqa: N802 - as http.server names it
        if self.is_foreign():
            return
        if self.path == "/":
            self.send(HTTPStatus.OK, "text/html; charset=utf-8", self.answer_page())
        else:
            self.refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:  # noqa: N802 - as http.server names it
        if self.is_foreign():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict":
            self.refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif self.headers.get("Content-Type") != "application/octet-stream":
            self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an image is sent as application/octet-stream")
        elif not length.isdecimal():
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "the size of the image must be sent first")
        elif int(length) > MEGABYTES << 20:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an image may have at most {MEGABYTES} MiB")
        else:
            self._predict(int(length))

    def _predict(self, length: int) -> None:
        content = self.rfile.read(length)
        try:
            described = self.answer_image(content)
        except AugcacheError as error:
            self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return
        self.send(HTTPStatus.OK, "application/json", json.dumps(described).encode())
