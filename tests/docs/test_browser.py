"""docs/browser: a bundle's ONNX file in a browser, and in plain ONNX Runtime, answers as the bundle itself does."""

import base64
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import noise, tiny_bundle
from pictures import packed, textured
from PIL import Image
from playwright.sync_api import Browser, Page

from pipeline.inference.bundle import Bundle, save_bundle
from pipeline.inference.onnx_export import to_onnx
from pipeline.ingest.decode import DecodeOptions, decode

DOCS = Path(__file__).resolve().parents[2] / "docs" / "browser"
RUNTIME = os.environ.get("ORT_WEB")  # the folder dist of the npm package onnxruntime-web, which no test downloads


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    exported = tiny_bundle()
    folder = tmp_path_factory.mktemp("browser") / "bundle"
    save_bundle(folder, exported, to_onnx(exported), {})
    return exported, folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is logged."""


@pytest.fixture(scope="module")
def page(browser: Browser, bundle: tuple[Bundle, Path]) -> Iterator[Page]:
    """The page beside a bundle, as a plain file server shows it."""
    _, folder = bundle
    shutil.copy(DOCS / "index.html", folder)
    if RUNTIME:
        for path in Path(RUNTIME).glob("ort*wasm*"):
            shutil.copy(path, folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    opened = browser.new_page()
    opened.goto(f"http://127.0.0.1:{server.server_address[1]}/index.html")
    yield opened
    opened.close()
    server.shutdown()
    thread.join()
    server.server_close()


def in_the_browser(page: Page, content: bytes, size: int, fit: str) -> np.ndarray:
    """Pixels uint8 [size, size, 3] as the page prepares them."""
    code = (
        "async ([text, size, fit]) => { const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)); "
        "return Array.from((await preprocessed(new Blob([bytes]), size, fit)).pixels); }"
    )
    pixels: list[int] = page.evaluate(code, [base64.b64encode(content).decode(), size, fit])
    return np.array(pixels, dtype=np.uint8).reshape(size, size, 3)


def soft(image: Image.Image) -> Image.Image:
    """Half the contrast, so that Lanczos' overshoot is clipped nowhere."""
    return image.point(lambda value: value // 2 + 64)


SHAPES = [(32, 32), (33, 47), (200, 131), (31, 400), (640, 427), (20, 20), (500, 33)]


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_png_becomes_the_same_pixels_as_in_python(page: Page, shape: tuple[int, int], fit: str) -> None:
    """Enlarged, shrunk, and beyond the scale from which Pillow averages first.

    Weights are integers in both. Pillow resizes along the axis first that is quicker, the page along rows; each order
    rounds to bytes in between, half a level that the other pass enlarges by its weights' absolute sum (below 1.5 for
    Lanczos), and at the end, half a level: 2 * (0.5 * 1.5 + 0.5) = 2.5. The images have no overshoot that is clipped.
    """
    content = packed(soft(textured(*shape)), "PNG")
    own = decode(content, 32, DecodeOptions(fit=fit)).astype(int)
    assert np.abs(in_the_browser(page, content, 32, fit) - own).max() <= 2


def test_rotated_and_transparent_files_are_read_as_python_reads_them(page: Page) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = packed(soft(textured(40, 64)), "PNG", exif=exif)
    assert np.abs(in_the_browser(page, turned, 32, "crop") - decode(turned, 32).astype(int)).max() <= 2
    image = textured(32, 32)
    image.putalpha(Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))))
    glass = packed(image, "PNG")
    # a canvas keeps colours multiplied by alpha in bytes and rounds once more: two levels
    assert np.abs(in_the_browser(page, glass, 32, "crop") - decode(glass, 32).astype(int)).max() <= 2


def test_a_jpeg_differs_by_decoders_alone(page: Page) -> None:
    """Both decode by libjpeg's exact integer transform, as a rule by the same library: a level or two per channel of

    YCbCr, which the conversion to RGB enlarges by 1.772 at most and Lanczos by its lobes, 1.5 per axis.
    """
    content = packed(textured(60, 48), "JPEG", quality=90)
    difference = np.abs(in_the_browser(page, content, 32, "crop") - decode(content, 32).astype(int))
    assert difference.max() <= np.ceil(1.772 * 1.5**2) + 2
    assert difference.mean() < 1


def test_without_the_runtime_the_page_says_what_to_do(page: Page) -> None:
    if RUNTIME:
        pytest.skip("the runtime is there")
    page.get_by_text("onnxruntime-web is not at ort.wasm.min.js").wait_for()


@pytest.mark.skipif(not RUNTIME, reason="ORT_WEB names no folder of onnxruntime-web")
def test_the_browser_answers_as_the_bundle_does(page: Page, bundle: tuple[Bundle, Path], tmp_path: Path) -> None:
    exported, _ = bundle
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.get_by_text("Ready.").wait_for()
    for number, image in enumerate(noise(4, 32)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image).save(path)
        page.set_input_files("#file", path)
        page.wait_for_selector("#classes .row:nth-child(3)")
        shown: list[Any] = page.locator("#classes .row").all_inner_texts()
        own = exported.predict(image, ())[0]
        best = int(own.argmax())
        assert shown[0].split()[0] == exported.classes[best]
        # shown to a thousandth; features of the bundle are rounded to float16
        assert float(shown[0].split()[1]) / 100 == pytest.approx(own[best], abs=5e-3)
    own_host = page.url.rsplit("/", 1)[0]
    assert all(url.startswith((own_host, "blob:", "data:")) for url in requests)


def test_plain_onnx_runtime_answers_as_the_bundle_does(bundle: tuple[Bundle, Path], tmp_path: Path) -> None:
    exported, folder = bundle
    photos = []
    for number, shape in enumerate([(32, 32), (200, 131), (31, 400)]):
        photos.append(tmp_path / f"{number}.png")
        photos[-1].write_bytes(packed(textured(*shape), "PNG"))
    command = [sys.executable, "-P", str(DOCS / "onnx_only.py"), str(folder), *map(str, photos)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    for line, row, photo in zip(done.stdout.splitlines(), exported.predict(photos, ()), photos, strict=True):
        name, probability = line.removeprefix(f"{photo}: ").split()
        assert name == exported.classes[int(row.argmax())]
        assert float(probability) == pytest.approx(float(row.max()), abs=5e-3)
    source = (DOCS / "onnx_only.py").read_text(encoding="utf-8")
    assert "pipeline" not in source and "torch" not in source
