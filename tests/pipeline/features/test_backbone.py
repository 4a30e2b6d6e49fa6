"""Backbones: names, weights, each one's own preprocessing, and features that depend on their image alone."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_pytorch import EfficientNet, utils
from safetensors.torch import save_file
from torch import Tensor, nn

from cache.errors import InputError, ParamsError
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.section import parse
from pipeline.features.backbone import make_backbone
from pipeline.features.checkpoints import read_weights

MINI = "efficientnet-mini"
B0 = "efficientnet-b0"
SIZE = 32
TIMM_SMALL = "timm:tf_mobilenetv3_small_minimal_100"
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # 2x - 1
MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """b0's tensors in the published form, its classifier included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(EfficientNet.from_name(B0).state_dict())


@pytest.fixture
def published(tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Official files of b0 by kind, in the folder where they are looked for first."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("AUGCACHE_WEIGHTS", str(folder))
    paths = {}
    for kind, prefix, urls in (("advprop", "adv-", utils.url_map_advprop), ("imagenet", "", utils.url_map)):
        changed = {name: value + (kind == "advprop") for name, value in tensors.items()}
        saved = tmp_path / "made.pth"
        torch.save(changed, saved, _use_new_zipfile_serialization=False)
        digest = hashlib.sha256(saved.read_bytes()).hexdigest()[:8]
        paths[kind] = saved.rename(folder / f"{prefix}{B0}-{digest}.pth")
        monkeypatch.setitem(urls, B0, f"https://localhost/{paths[kind].name}")
    return paths


def refused(*arguments: Any) -> str:
    with pytest.raises((ParamsError, InputError)) as caught:
        make_backbone(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names


def test_wrong_name_lists_the_right_ones() -> None:
    line = refused("efficientnet_b0", "random", SIZE)
    for known in (MINI, "efficientnet-b0", "efficientnet-b8", "timm:<name>", "Did you mean 'efficientnet-b0'?"):
        assert known in line


def test_wrong_timm_name_lists_the_nearest() -> None:
    assert "tf_efficientnet_b0" in refused("timm:tf_eficientnet_b0.ap_in1k", "random", SIZE)


@pytest.mark.parametrize(
    ("backbone", "weights", "reason"),
    [
        ("efficientnet-b8", "imagenet", "expected advprop or random or the path of a file, found imagenet"),
        (TIMM_SMALL, "advprop", "expected pretrained or random or the path of a file, found advprop"),
        (TIMM_SMALL, "imagenet", "expected pretrained or random or the path of a file, found imagenet"),
        (MINI, "imagenet", "expected advprop or random or the path of a file, found imagenet"),
        (B0, "pretrained", "expected advprop or imagenet or random or the path of a file, found pretrained"),
        ("efficientnet-lite1", "advprop", "expected imagenet or random or the path of a file, found advprop"),
    ],
)
def test_weights_that_do_not_exist_are_refused_with_the_reason(backbone: str, weights: str, reason: str) -> None:
    assert reason in refused(backbone, weights, SIZE)


def test_params_are_refused_before_any_work(default: dict[str, Any]) -> None:
    """The section itself knows which names fit together, so the first stage refuses, not the third."""
    assert parse(FeaturizeConfig, default, "featurize").weights == default["weights"]
    for change in ({"backbone": "b0"}, {"backbone": "efficientnet-b8", "weights": "imagenet"}):
        with pytest.raises(ParamsError, match=r"params\.yaml featurize\.(backbone|weights)"):
            parse(FeaturizeConfig, default | change, "featurize")


@pytest.fixture
def default() -> dict[str, Any]:
    import yaml

    root = Path(__file__).resolve().parents[3]
    section: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["featurize"]
    return section


# Preprocessing


@pytest.mark.parametrize(("weights", "expected"), [("advprop", HALF), ("imagenet", MEAN_STD)])
def test_official_weights_bring_their_own_preprocessing(
    published: dict[str, Path], tensors: dict[str, Tensor], weights: str, expected: Any
) -> None:
    named = make_backbone(B0, weights, SIZE)
    assert (named.mean, named.std) == expected
    stem = named.network.state_dict()["network._conv_stem.weight"]
    assert torch.equal(stem, tensors["_conv_stem.weight"] + (weights == "advprop"))
    by_path = make_backbone(B0, str(published[weights]), SIZE)  # the name of the file says which
    assert (by_path.mean, by_path.std, by_path.weights_sha256) == (*expected, named.weights_sha256)


def test_official_weights_with_the_other_preprocessing_are_refused(published: dict[str, Path]) -> None:
    assert "expected auto or advprop, found imagenet" in refused(B0, "advprop", SIZE, "imagenet")
    assert "expected auto or imagenet, found advprop" in refused(B0, "imagenet", SIZE, "advprop")
    assert make_backbone(B0, "advprop", SIZE, "advprop").mean == HALF[0]


def test_nobody_guesses_the_preprocessing_of_other_files(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "efficientnet-b0-mine.pth"
    torch.save(tensors, path)
    assert "say which" in refused(B0, str(path), SIZE)
    assert make_backbone(B0, str(path), SIZE, "advprop").mean == HALF[0]
    assert make_backbone(B0, str(path), SIZE, "imagenet").mean == MEAN_STD[0]


def test_timm_says_the_preprocessing_of_a_tagged_name() -> None:
    adv = make_backbone("timm:tf_efficientnet_b0.ap_in1k", "random", SIZE)
    assert (adv.mean, adv.std) == HALF
    plain = make_backbone("timm:tf_efficientnet_b0.in1k", "random", SIZE)
    assert (plain.mean, plain.std) == MEAN_STD


def test_timm_name_without_a_tag_is_asked_for_one_where_tags_disagree(tmp_path: Path) -> None:
    """tf_efficientnet_b0 has AdvProp weights and others: a file alone does not say which it holds."""
    path = tmp_path / "weights.safetensors"
    save_file(make_backbone("timm:tf_efficientnet_b0", "random", SIZE).network.state_dict(), path)
    assert "say which" in refused("timm:tf_efficientnet_b0", str(path), SIZE)
    assert make_backbone("timm:tf_efficientnet_b0.ap_in1k", str(path), SIZE).mean == HALF[0]


# Loading


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_classifier_is_left_out_and_every_other_tensor_loaded(
    tensors: dict[str, Tensor], tmp_path: Path, suffix: str
) -> None:
    path = write(tmp_path / f"b0.{suffix}", tensors)
    loaded = make_backbone(B0, str(path), SIZE, "advprop").network.state_dict()
    expected = {f"network.{name}": value for name, value in tensors.items() if not name.startswith("_fc.")}
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_timm_loads_by_path_without_its_classifier(tmp_path: Path) -> None:
    import timm

    whole = timm.create_model(TIMM_SMALL.removeprefix("timm:"), pretrained=False)
    path = write(tmp_path / "weights.safetensors", whole.state_dict())
    loaded = make_backbone(TIMM_SMALL, str(path), SIZE).network.state_dict()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in loaded.items())
    assert set(whole.state_dict()) - set(loaded) == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"_conv_stem.weight": None}, "1 missing, 0 unknown, 0 of another shape, such as _conv_stem.weight"),
        ({"foreign.weight": torch.zeros(1)}, "0 missing, 1 unknown, 0 of another shape, such as foreign.weight"),
        ({"_bn1.bias": torch.zeros(7)}, "0 missing, 0 unknown, 1 of another shape, such as _bn1.bias"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tensors: dict[str, Tensor], tmp_path: Path, change: dict[str, Tensor | None], expected: str
) -> None:
    changed = {name: value for name, value in {**tensors, **change}.items() if value is not None}
    path = write(tmp_path / "b0.safetensors", changed)
    line = refused(B0, str(path), SIZE, "advprop")
    assert expected in line and str(path) in line


def test_another_scale_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "b0.safetensors", tensors)
    assert "weights do not fit the backbone" in refused("efficientnet-b1", str(path), SIZE, "advprop")


class Attack:
    """Pickles to a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_without_running(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "evil.pth"
    torch.save({"weight": Attack(mark)}, path, _use_new_zipfile_serialization=zipped)
    assert "cannot be read" in refused(B0, str(path), SIZE, "advprop")
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # the attack was real


@pytest.mark.parametrize("name", ["b0.pth", "old.pth", "b0.safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -1])
def test_cut_file_is_refused(tmp_path: Path, name: str, kept: int) -> None:
    path = write(tmp_path / name, {"weight": torch.arange(3000.0)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="weights cannot be read"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore")  # of torch, about what it then refuses
@pytest.mark.parametrize("name", ["b0.pth", "old.pth"])
def test_broken_file_is_refused_or_read_but_never_a_crash(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {"weight": torch.arange(50.0)})
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(500):
        broken = bytearray(whole)
        broken[random.integers(min(len(whole), 900))] = random.integers(256)
        path.write_bytes(broken)
        try:
            read_weights(path)
        except InputError:
            refusals += 1
    assert refusals > 100


def test_what_is_no_mapping_of_tensors_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate(([torch.zeros(1)], {"epoch": 3}, {"state_dict": {"epoch": 3}}, {})):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(InputError, match="no mapping of names to tensors"):
            read_weights(path)


def test_missing_file_names_what_may_be_given(tmp_path: Path) -> None:
    line = refused(B0, str(tmp_path / "none.pth"), SIZE)
    assert "no such weights" in line and "advprop, imagenet, pretrained, random" in line


# Features


@pytest.mark.parametrize("name", [MINI, TIMM_SMALL])
def test_random_weights_are_the_same_each_time_and_disturb_no_generator(name: str) -> None:
    torch.manual_seed(1)
    first = make_backbone(name, "random", SIZE)
    drawn = torch.rand(1)
    torch.manual_seed(2)
    second = make_backbone(name, "random", SIZE)
    assert first.weights_sha256 == second.weights_sha256
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)


def test_digest_knows_every_tensor(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "b0.safetensors", tensors)
    first = make_backbone(B0, str(path), SIZE, "advprop").weights_sha256
    assert make_backbone(B0, str(write(tmp_path / "b0.pth", tensors)), SIZE, "advprop").weights_sha256 == first
    name = "_blocks.9._bn2.running_var"
    write(path, {**tensors, name: tensors[name] + 2**-20})
    assert make_backbone(B0, str(path), SIZE, "advprop").weights_sha256 != first


@pytest.mark.parametrize("name", [MINI, B0, TIMM_SMALL])
def test_features_depend_on_their_image_alone(name: str) -> None:
    """Bit for bit in one batch shape: under permutation, and with padding in place of neighbours.

    Of 32 images, in one thread: torch computes SiLU and sigmoid by other instructions in what is left over when a
    thread's share of a tensor is no multiple of 32 numbers, so elsewhere the place in the batch can tell.
    """
    network = make_backbone(name, "random", SIZE).network
    images = noise(32)
    order = torch.from_numpy(np.random.default_rng(0).permutation(32))
    with torch.inference_mode():
        features = network(images)
        permuted = network(images[order])
        padded = network(torch.cat([images[:3], torch.zeros_like(images[3:])]))
    assert torch.equal(permuted, features[order])
    assert torch.equal(padded[:3], features[:3])


@pytest.mark.parametrize("name", [MINI, B0, "efficientnet-b4", TIMM_SMALL])
def test_random_features_do_not_collapse(name: str) -> None:
    backbone = make_backbone(name, "random", SIZE)
    with torch.inference_mode():
        features = backbone.network(noise(16)).double()
    assert features.isfinite().all()
    spread = features.std(dim=0)
    assert (spread > 1e-3).float().mean() > 0.9  # nearly every feature tells images apart
    cosine = nn.functional.cosine_similarity(features[:8], features[8:])
    assert cosine.max() < 0.99
    assert torch.linalg.matrix_rank(features) == 16


def test_backbone_is_frozen() -> None:
    network = make_backbone(MINI, "random", SIZE).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def noise(count: int) -> Tensor:
    """Smooth noise [k, 3, s, s], normalised, channels last as featurize gives it."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    images = nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")
    return images.contiguous(memory_format=torch.channels_last)


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=path.stem != "old")
    return path
