"""timm's weights by name, from a server on this machine that speaks the hub's protocol."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
import timm
import torch
from safetensors.torch import save

from cache.errors import InputError
from pipeline.config.params import read_params
from pipeline.features import hub
from pipeline.features.backbone import make_backbone
from pipeline.features.featurizer import Featurizer

NAME = "test_resnet.r160_in1k"
REPOSITORY = "timm/test_resnet.r160_in1k"
REVISION = "1234567890123456789012345678901234567890"
SAFE, PICKLED = hub.FILES
PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"


@dataclass
class Hub:
    """The files of the one repository, how the server misbehaves, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None  # bytes of a body after which it hangs up
    claimed: int | None = None  # the size that it announces, instead of the true one
    status: int = 200
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            state.requests.append(f"{self.command} {self.path}")
            name = self.path.rpartition("/")[2]
            known = self.path.startswith(f"/{REPOSITORY}/resolve/") and name in state.files
            if state.status >= 400 or not known:
                self.send_response(state.status if state.status >= 400 else 404)
                self.send_header("X-Error-Code", "EntryNotFound" if state.status < 400 else "")
                self.send_header("X-Repo-Commit", REVISION)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = state.files[name]
            size = len(content) if state.claimed is None else state.claimed
            self.send_response(200)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(size))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: state.cut])

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.handle_error = lambda *args: None  # type: ignore[method-assign]
        state.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        use_server(monkeypatch, state.address, tmp_path / "hub")
        yield state
        listening.shutdown()
        thread.join()
    hub.fetch_pretrained.cache_clear()


def use_server(monkeypatch: pytest.MonkeyPatch, address: str, folder: Path) -> None:
    """What HF_ENDPOINT and HF_HUB_CACHE set when the library is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # it waits between its tries
    hub.fetch_pretrained.cache_clear()


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return dict(timm.create_model(NAME, pretrained=False).state_dict())


def refusal() -> str:
    hub.fetch_pretrained.cache_clear()
    with pytest.raises(InputError) as caught:
        make_backbone(f"timm:{NAME}", "pretrained", 64)
    line = str(caught.value)
    assert "\n" not in line and "127.0.0.1" not in line and f"timm:{NAME}" in line
    return line


def test_weights_by_name_are_fetched_once_and_named_in_the_key(
    server: Hub, tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files[SAFE] = save(tensors)
    assert hub.cached_pretrained(NAME) is None
    backbone = make_backbone(f"timm:{NAME}", "pretrained", 64)
    asked = len(server.requests)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in backbone.tensors.items())
    digest = hashlib.sha256(server.files[SAFE]).hexdigest()
    source = {"repository": REPOSITORY, "revision": REVISION, "file": SAFE, "sha256": digest}
    assert backbone.source == source
    chosen = [f"featurize.backbone=timm:{NAME}", "featurize.weights=pretrained", "featurize.engine=eager"]
    assert Featurizer(read_params(PARAMS, chosen).featurize).recipe["source"] == source
    assert hub.cached_pretrained(NAME) is not None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.fetch_pretrained.cache_clear()
    assert make_backbone(f"timm:{NAME}", "pretrained", 64).source == source
    assert len(server.requests) == asked


def test_a_repository_without_safetensors_gives_its_pickle_free_file(
    server: Hub, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(tensors, tmp_path / "file")
    server.files[PICKLED] = (tmp_path / "file").read_bytes()
    assert make_backbone(f"timm:{NAME}", "pretrained", 64).source["file"] == PICKLED


def test_preprocessing_is_that_of_the_weights(server: Hub, tensors: dict[str, torch.Tensor]) -> None:
    """A name without a tag stands for its first weights, whatever others want."""
    server.files[SAFE] = save(tensors)
    config = timm.get_pretrained_cfg(NAME)
    assert make_backbone(f"timm:{NAME.partition('.')[0]}", "pretrained", 64).mean == tuple(config.mean)


def test_a_download_that_was_cut_short_is_one_line_and_the_next_run_mends(
    server: Hub, tensors: dict[str, torch.Tensor]
) -> None:
    server.files[SAFE] = save(tensors)
    server.cut = 20_000
    assert "cannot be downloaded" in refusal()
    server.cut = None
    assert make_backbone(f"timm:{NAME}", "pretrained", 64).source["revision"] == REVISION


def test_a_file_of_the_wrong_size_is_one_line(server: Hub, tensors: dict[str, torch.Tensor]) -> None:
    server.files[SAFE] = save(tensors)
    server.claimed = len(server.files[SAFE]) + 1000
    assert "cannot be downloaded" in refusal()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_server_that_refuses_is_one_line(server: Hub, status: int) -> None:
    server.status = status
    assert "cannot be downloaded" in refusal()


def test_a_repository_without_weights_is_one_line(server: Hub) -> None:
    assert "repository has no weights" in refusal()


def test_offline_without_the_file_is_one_line_without_a_request(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = refusal()
    assert "HF_HUB_OFFLINE is set" in line and "HF_HOME" in line
    assert server.requests == []


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        address = f"http://127.0.0.1:{closed.server_port}"
    use_server(monkeypatch, address, tmp_path)
    assert "cannot be downloaded" in refusal()


def test_damage_in_the_cache_is_noticed(server: Hub, tensors: dict[str, torch.Tensor]) -> None:
    server.files[SAFE] = save(tensors)
    path = hub.fetch_pretrained(NAME).path.resolve()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    line = refusal()
    assert "damaged" in line and f"Delete {path}" in line


def test_weights_that_only_lie_elsewhere_are_refused_with_the_address() -> None:
    with pytest.raises(InputError, match=r"no weights of this name\. Download https://\S+ and give its path"):
        hub.fetch_pretrained("legacy_senet154.in1k")


@pytest.mark.long
def test_the_library_s_own_environment_is_respected(
    server: Hub, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, by a process of its own; its error is one line and exit code 2."""
    server.files[SAFE] = save(tensors)
    code = f"from pipeline.features.hub import fetch_pretrained; print(fetch_pretrained({NAME!r}).revision)"
    own = os.environ | {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": os.getcwd()}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], env=own | more, capture_output=True, text=True, check=False)

    assert "HF_HUB_OFFLINE is set" in run(HF_HUB_OFFLINE="1").stderr
    assert server.requests == []
    assert run().stdout.strip() == REVISION
    assert run(HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1").stdout.strip() == REVISION
