"""Backbones on the disk are those that would need no download."""

from pathlib import Path

import pytest

from pipeline.estimate import at_hand


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(folder), raising=False)
    monkeypatch.delenv("AUGCACHE_WEIGHTS", raising=False)
    return folder


def test_the_installed_package_is_at_hand(tmp_path: Path) -> None:
    names = [backbone.name for backbone in at_hand.backbones_at_hand(str(tmp_path / "none"))]
    assert names[0] == "efficientnet-lite0" and not any("-b" in name for name in names)


def test_an_official_file_is_at_hand(tmp_path: Path) -> None:
    (tmp_path / "adv-efficientnet-b0-b64d5a18.pth").write_bytes(b"x" * 10)
    official = [own for own in at_hand.backbones_at_hand(str(tmp_path)) if own.name == "efficientnet-b0"]
    assert official == [at_hand.BackboneAtHand("efficientnet-b0", "advprop", 10, 224)]


def test_timms_files_in_the_hubs_cache_are_at_hand(empty_hub: Path, tmp_path: Path) -> None:
    for name in ("tf_efficientnetv2_b0.in1k", "no_network_of_timm"):
        repository = empty_hub / f"models--timm--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("a" * 40)
        (repository / "blobs").mkdir()
        (repository / "blobs" / "b").write_bytes(b"x" * 7)
        snapshot = repository / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(repository / "blobs" / "b")
    timm = [own for own in at_hand.backbones_at_hand(str(tmp_path)) if own.name.startswith("timm:")]
    assert [(own.name, own.weights) for own in timm] == [("timm:tf_efficientnetv2_b0.in1k", "pretrained")]
