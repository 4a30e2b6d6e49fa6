"""The page of serve in a real browser: a photo is chosen, and its classes and neighbours appear."""

import threading
from pathlib import Path

import numpy as np
from bundles import noise, tiny_bundle
from pictures import packed, textured
from playwright.sync_api import Browser

from pipeline.inference.answers import Answerer
from pipeline.inference.server import Service, TrainingImages, make_server
from pipeline.ingest.decode import DecodeOptions
from stages._serve import PAGE


def test_a_chosen_photo_gets_an_answer_and_a_broken_one_a_reason(browser: Browser, tmp_path: Path) -> None:
    answer = Answerer(tiny_bundle())
    images = noise(6, 32)
    training = TrainingImages(images, answer(images).features, ["<b>ant</b>"] * 6, [f"{n}.png" for n in range(6)])
    server = make_server(Service(answer, PAGE.read_bytes(), DecodeOptions(), None, training), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "photo.jpg").write_bytes(packed(textured(), "JPEG"))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    try:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        own = f"http://127.0.0.1:{server.server_address[1]}/"
        page.goto(own)
        page.set_input_files("#file", tmp_path / "photo.jpg")
        page.wait_for_selector("#nearest li")
        assert page.locator("#classes .row").count() == 3
        assert page.locator("#nearest li").first.inner_text().startswith("<b>ant</b>")  # text, not HTML
        page.set_input_files("#file", tmp_path / "broken.jpg")
        page.get_by_text("cannot be answered").wait_for()
        assert page.locator("#classes .row").count() == 0
        assert complaints == []
        assert all(url.startswith((own, "blob:", "data:")) for url in requests)
        page.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert np.isfinite(answer(images).probabilities).all()
