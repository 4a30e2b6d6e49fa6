"""A small page on this machine: drop a photo, see its class and the training images nearest to it.

Only this machine can reach it. A request must name a loopback host, so that no foreign page can use it through a name
of its own, and an upload must be an image of bounded size, sent by the page itself.
"""

import base64
import io
import json
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from cache.errors import AugcacheError
from cache.layout import Array
from pipeline.inference.answers import Answerer
from pipeline.inference.measured import Measured
from pipeline.ingest.decode import DecodeOptions, decode

MEGABYTES = 32  # that an upload may have
TOP = 5
NEAREST = 4
SECONDS = 30  # that a client may take to send its request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


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
    """A server on 127.0.0.1; port 0 takes any that is free. Raises OSError if the port is taken."""
    lock = threading.Lock()  # one image at a time: a network uses every core already

    class Handler(_Handler):
        """Requests of one service."""

        def answer_page(self) -> bytes:
            return service.page

        def answer_image(self, content: bytes) -> dict[str, Any]:
            with lock:
                return service.describe(content)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS
    server_version = "augcache"
    sys_version = ""

    def answer_page(self) -> bytes:
        raise NotImplementedError

    def answer_image(self, content: bytes) -> dict[str, Any]:
        raise NotImplementedError

    def do_GET(self) -> None:
        if self._is_foreign():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.answer_page())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        if self._is_foreign():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict":
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif self.headers.get("Content-Type") != "application/octet-stream":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an image is sent as application/octet-stream")
        elif not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the size of the image must be sent first")
        elif int(length) > MEGABYTES << 20:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an image may have at most {MEGABYTES} MiB")
        else:
            self._predict(int(length))

    def _predict(self, length: int) -> None:
        content = self.rfile.read(length)
        try:
            described = self.answer_image(content)
        except AugcacheError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return
        self._send(HTTPStatus.OK, "application/json", json.dumps(described).encode())

    def _is_foreign(self) -> bool:
        """Refuse a request under another name than this machine's own, or from another page."""
        port = int(self.server.server_address[1])  # type: ignore[index]
        hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and origin in (None, *(f"http://{host}" for host in hosts)):
            return False
        self._refuse(HTTPStatus.FORBIDDEN, "only this machine's own page may ask")
        return True

    def _refuse(self, status: HTTPStatus, what: str) -> None:
        self.close_connection = True
        self._send(status, "application/json", json.dumps({"error": what}).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
        """Requests are not logged: pipeline/ prints nothing."""
