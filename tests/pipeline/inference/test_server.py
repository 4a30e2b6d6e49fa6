"""The page answers this machine's own requests, and nothing else."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bundles import noise, tiny_bundle
from pictures import packed, textured

from pipeline.inference.answers import Answerer
from pipeline.inference.known import fit_known_classes
from pipeline.inference.measured import Measured
from pipeline.inference.server import MEGABYTES, Service, TrainingImages, make_server
from pipeline.ingest.decode import DecodeOptions

BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    answer = Answerer(tiny_bundle())
    images = noise(12, 32)
    labels = np.arange(12) % 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGCACHE_STORE", str(tmp_path_factory.mktemp("store")))
        answers = answer(images)
        measured = Measured(answers.probabilities, labels, fit_known_classes(answers.features, labels))
        names = [answer.bundle.classes[label] for label in labels]
        training = TrainingImages(images, answers.features, names, [f"{number}.png" for number in range(12)])
        server = make_server(Service(answer, b"<p>page", DecodeOptions(), measured, training), 0)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
        server.server_close()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    return reply.status, json.loads(content) if "json" in reply.headers["Content-Type"] else content


def test_the_page_is_served(port: int) -> None:
    assert ask(port, "GET", "/") == (200, b"<p>page")
    assert ask(port, "GET", "/../params.yaml")[0] == 404


def test_an_image_gets_classes_and_the_nearest_training_images(port: int) -> None:
    status, answer = ask(port, "POST", "/predict", packed(textured(), "JPEG"), Content_Type="application/octet-stream")
    assert status == 200
    probabilities = [own["probability"] for own in answer["classes"]]
    assert {own["name"] for own in answer["classes"]} == {"ant", "bee", "cow"}
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1, abs=2e-3)
    similarities = [near["similarity"] for near in answer["nearest"]]
    assert len(similarities) == 4 and similarities == sorted(similarities, reverse=True)
    assert len({near["file"] for near in answer["nearest"]}) == 4
    assert answer["nearest"][0]["image"].startswith("data:image/jpeg;base64,")
    assert 0 <= answer["unknown"] <= 1 and "of these are wrong" in answer["measured"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/predict", b"no image", BINARY, 422),
        ("POST", "/predict", b"", BINARY, 422),
        ("POST", "/predict", b"x", {"Content-Type": "image/jpeg"}, 415),
        ("POST", "/other", b"x", BINARY, 404),
        ("POST", "/predict", b"x", {**BINARY, "Content-Length": str((MEGABYTES << 20) + 1)}, 413),
        ("POST", "/predict", b"x", {**BINARY, "Content-Length": "-1"}, 411),
        ("GET", "/", None, {"Host": "evil.example:80"}, 403),
        ("POST", "/predict", b"x", {**BINARY, "Origin": "http://evil.example"}, 403),
        ("POST", "/predict", b"x", {**BINARY, "Origin": "null"}, 403),
        ("GET", "/", None, {"Host": "127.0.0.1"}, 403),
    ],
)
def test_everything_else_is_refused(
    port: int, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    refused, answer = ask(port, method, path, body, **headers)
    assert refused == status and answer["error"]


def test_only_loopback_is_bound() -> None:
    server = make_server(Service(Answerer(tiny_bundle()), b"", DecodeOptions()), 0)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()
