"""Every path of the code on a GPU: the CPU's results within a stated tolerance, the same bytes twice, no waiting.

    python benchmarks/gpu/smoke.py features|heads|train|finetune|gan|attacks [--weights V2-B0.safetensors] [--dry-run]

Tolerances: a row of features may differ from the CPU's float32 by twice what the CPU's own bfloat16 does, and in
float32, which is TF32 with three more bits of mantissa, by an eighth of that; so random weights, which magnify
rounding, are allowed for. A loss of a training of some steps may differ by 2 %, an accuracy of a few hundred rows by 5
points. A check that fails is a figure too: the others go on, and the exit code says so.
"""

import hashlib
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import DEVICE, DRY, coloured_images, option, params, record
from stage_runs import synthetic_features
from torch import Tensor, nn

from cache.layout import Array
from pipeline.config.evaluate import AttackConfig
from pipeline.config.recipe import read_recipe
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.evaluation.robustness import RobustnessSample
from pipeline.features import featurizer as featurizer_module
from pipeline.features.featurizer import Featurizer
from pipeline.gan.fit import train_gan
from pipeline.heads.choose import choose_head
from pipeline.heads.fit import fit_head
from pipeline.heads.halving import HeadGroup, SweepData, make_sweep_data, run_pass
from pipeline.heads.spec import HeadSpec
from pipeline.inference.compose import compose
from pipeline.networks.head import Head
from pipeline.runtime.progress import Watch
from pipeline.training.fit import ModelFit, fit_model
from pipeline.training.start import Start, start_from_head

PRECISIONS = ("float32", "bfloat16")
TF32_BITS = 3  # of a mantissa, more than bfloat16 has
LOSS = 0.02  # of itself
ACCURACY = 0.05
SIZE = 32 if DRY else 96
BACKBONES = ("efficientnet:0.25x0.2/2",) if DRY else ("efficientnet-b0", "timm:tf_efficientnetv2_b0")
failures = 0


def check(area: str, name: str, within: bool, **values: Any) -> None:
    """Record one check."""
    global failures  # noqa: PLW0603 - the exit code of this script
    failures += not within
    record("smoke", area=area, check=name, ok=bool(within), **values)


def featurize_config(backbone: str, device: str, engine: str = "eager", precision: str = "float32") -> FeaturizeConfig:
    weights = option("weights") if backbone.startswith("timm:") else ""
    values = {"backbone": backbone, "weights": weights or "random", "preprocessing": "imagenet", "size": SIZE}
    values |= {"engine": engine, "precision": precision, "dtype": "float32", "batch": 16, "device": device}
    return params(*(f"featurize.{key}={value}" for key, value in values.items())).featurize


def features_of(config: FeaturizeConfig, images: Array) -> Array:
    """By a network that is built anew."""
    featurizer_module._network.cache_clear()
    featurizer_module._backbone.cache_clear()
    return Featurizer(config)(images, np.empty(len(images), "S64"))


def features() -> None:
    images = coloured_images(40, SIZE, 4).images
    for backbone in BACKBONES:
        expected = features_of(featurize_config(backbone, "cpu"), images)
        half = relative(features_of(featurize_config(backbone, "cpu", precision="bfloat16"), images), expected)
        bounds = {"float32": 2 * half / 2**TF32_BITS, "bfloat16": 2 * half}
        for engine in ("eager",) if DRY else ("eager", "compile"):
            for precision, bound in bounds.items():
                config = featurize_config(backbone, DEVICE, engine, precision)
                rows = features_of(config, images)
                error = relative(rows, expected)
                name = f"{backbone} {engine} {precision}"
                check("features", f"{name}: as on the CPU", error < bound, error=error, bound=bound)
                check("features", f"{name}: same bytes twice", np.array_equal(features_of(config, images), rows))
                turned = Featurizer(config)(np.ascontiguousarray(images[::-1]), np.empty(len(images), "S64"))[::-1]
                check("features", f"{name}: whatever the neighbours", np.array_equal(turned, rows))


def heads() -> None:
    train, val = (
        {"unaugmented": synthetic_features(rows, 10, seed)}
        for seed, rows in enumerate((300, 100) if DRY else (2000, 500))
    )
    plain = ("train_head.schedule=[unaugmented x 3]", "train_head.hidden=[64]", "train_head.dropout=0")
    for precision in PRECISIONS:
        chosen = (*plain, "train_head.lr=0.002", "train_head.batch=128", f"train_head.precision={precision}")
        fits = [fit_head(train, val, params(*chosen, f"train_head.device={device}").train_head) for device in on_both()]
        losses = [fit.curves[-1]["val_loss"] for fit in fits]
        close("heads", f"a head in {precision}", losses[0], losses[1])
        again = fit_head(train, val, params(*chosen, f"train_head.device={DEVICE}").train_head)
        check("heads", f"a head in {precision}: same bytes twice", same(again.head, fits[1].head))
    specs = [HeadSpec((32,), 0.001 * (1 + at), 0.01, 0.1 * (at % 2), 0.1, 0.2 * (at % 3)) for at in range(6)]
    configs = [params(*plain, f"train_head.device={device}").train_head for device in on_both()]
    passes = [run_pass(specs, make_sweep_data(train, val, config), config, 0.5) for config in configs]
    best = [max(trial.val_accuracy for trial in trials) for trials in passes]
    check("heads", "sweep: best accuracy", abs(best[0] - best[1]) < ACCURACY, cpu=best[0], gpu=best[1])
    solved = ("train_head.schedule=[unaugmented x 3]", "train_head.budget=1")
    choices = [choose_head(train, val, params(*solved, f"train_head.device={at}").train_head) for at in on_both()]
    accuracies = [choice.accuracy.get("linear", 0.0) for choice in choices]
    check("heads", "solved heads", abs(accuracies[0] - accuracies[1]) < ACCURACY, cpu=accuracies[0], gpu=accuracies[1])
    waits = [
        waits_of(lambda rows=rows: one_epoch(specs, train, val, configs[1], rows))
        for rows in ((64, 128) if DRY else (256, 1024))
    ]
    check("heads", "no step waits for the GPU", waits[0] == waits[1], waits=waits)


def one_epoch(specs: list[HeadSpec], train: Any, val: Any, config: Any, rows: int) -> Callable[[], object]:
    """An epoch over so many rows, once one has passed."""
    few = {"unaugmented": train["unaugmented"].take(np.arange(rows))}
    data: SweepData = make_sweep_data(few, val, config)
    group = HeadGroup(specs, replace(data, held_out=None), config)
    group.trainer.epoch(group.stack, "unaugmented")
    return lambda: group.trainer.epoch(group.stack, "unaugmented")


TINY: dict[str, Any] = {
    "network": {"name": "resnetv2", "widths": [8, 16], "blocks": 1},
    "schedule": ["unaugmented x 2"],
    "batch": 32,
    "lr": 0.02,
    "warmup_epochs": 0,
    "augmentation": {"crop_padding": 0, "flip": 0},
}
KINDS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16 and clipping": {"precision": "float16", "clip": 1.0},
    "averaged weights": {"ema": 0.9},
    "AdamW": {"optimizer": "adamw", "lr": 0.002},
}
FULL: dict[str, Any] = {
    "augmentation": {
        "crop_padding": 4,
        "flip": 0.5,
        "rotation": 10,
        "randaugment": {"operations": 2, "magnitude": 9, "std": 0.5},
        "jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
        "erasing": 0.5,
        "cutmix": {"probability": 0.5, "alpha": 1.0},
        "mixup": {"probability": 0.5, "alpha": 0.2},
    },
    "precision": "float16",
    "adversary": {"steps": 1, "eps": 2, "step": 2, "norms": "separate"},
}


def trained(
    changes: Mapping[str, Any], device: str, engine: str = "eager", stop: int = 0, count: int = 128
) -> ModelFit:
    """A tiny network; stop: after how many epochs it is interrupted."""
    images = coloured_images(count, 32, 4)
    val = coloured_images(64, 32, 4, seed=1)
    config = params(
        f"train_model.device={device}", f"train_model.engine={engine}", "train_model.checkpoint_seconds=0"
    ).train_model

    def log(curve: Mapping[str, Any]) -> None:
        if curve["epoch"] == stop:
            raise KeyboardInterrupt

    recipe = read_recipe("plain", {**TINY, **changes})
    return next(fit_model({"unaugmented": images}, {"unaugmented": val}, recipe, config, Watch(log=log)))


def train() -> None:
    for name, changes in KINDS.items():
        cpu, gpu = (trained(changes, device) for device in on_both())
        close("train_model", name, cpu.curves[-1]["train_loss"], gpu.curves[-1]["train_loss"])
        if name == "float32":
            twice("train_model", name, gpu, lambda: trained({}, DEVICE))
    with_all = [trained(FULL, DEVICE)]
    twice("train_model", "every augmentation, AdvProp, float16", with_all[0], lambda: trained(FULL, DEVICE))
    with fresh_store():
        try:
            trained(FULL, DEVICE, stop=1)
        except KeyboardInterrupt:
            resumed = trained(FULL, DEVICE)
        check("train_model", "resumed: same bytes", same(resumed.network, with_all[0].network))
    compiled = trained({"precision": "bfloat16"}, DEVICE, "compile")
    plain = trained({"precision": "bfloat16"}, DEVICE)
    close("train_model", "compile", plain.curves[-1]["train_loss"], compiled.curves[-1]["train_loss"])
    counts = [waits_of(lambda count=count: lambda: fresh(FULL, count)) for count in (64, 256)]
    check("train_model", "no step waits for the GPU", counts[0] == counts[1], waits=counts)


def fresh(changes: Mapping[str, Any], count: int) -> ModelFit:
    """Trained anew; without checkpoints between, which have to wait."""
    with fresh_store():
        images = coloured_images(count, 32, 4)
        config = params(f"train_model.device={DEVICE}", "train_model.checkpoint_seconds=100000").train_model
        recipe = read_recipe("plain", {**TINY, **changes, "schedule": ["unaugmented x 1"]})
        return next(fit_model({"unaugmented": images}, {}, recipe, config))


def finetune() -> None:
    config = [featurize_config(BACKBONES[-1], device) for device in on_both()]
    rows = features_of(config[0], coloured_images(4, SIZE, 4).images)
    recipe = read_recipe("finetune", {"schedule": ["unaugmented x 2"], "batch": 16, "patience": None})

    def fit(at: FeaturizeConfig, changes: Mapping[str, Any]) -> ModelFit:
        start: Start = start_from_head(zero_head(rows.shape[1]), at)
        settings = params(f"train_model.device={at.device}").train_model
        images = {"unaugmented": coloured_images(32, SIZE, 4)}
        with fresh_store():
            return next(fit_model(images, {}, recipe.model_copy(update=dict(changes)), settings, start=start))

    cpu, gpu = (fit(at, {}) for at in config)
    close("finetune", "float32", cpu.curves[-1]["train_loss"], gpu.curves[-1]["train_loss"])
    twice("finetune", "float32", gpu, lambda: fit(config[1], {}))
    half = fit(config[1], {"precision": "bfloat16", "layer_decay": 0.75})
    finite = all(np.isfinite(row["train_loss"]) for row in half.curves)
    check("finetune", "bfloat16, layer-wise decay", finite, train_loss=half.curves[-1]["train_loss"])


def zero_head(width: int) -> Head:
    head = Head([width, 4], 0.0, 0.0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    return head


def gan() -> None:
    images = coloured_images(24, 8, 3)
    small = ("gan.size=8", "gan.samples=5", "gan.wgan.iterations=6", "gan.conv.iterations=6", "gan.conv.width=8")
    more = ("gan.wgan.hidden=[16, 16]", "gan.wgan.critic_hidden=[16]", "gan.wgan.classes_at_once=3")
    for kind in ("wgan", "conv"):
        runs = []
        for device in (*on_both(), DEVICE):
            with fresh_store():
                runs.append(train_gan(images, params(f"gan.kind={kind}", f"gan.device={device}", *small, *more).gan))
        bytes_of = [b"".join(run.samples.tobytes() for run in classes) for classes in runs]
        check("gan", f"{kind}: same bytes twice", bytes_of[1] == bytes_of[2])
        if kind == "wgan":  # the other draws on the device
            losses = [runs[at][0].losses[-1][1] for at in (0, 1)]
            check("gan", "wgan: loss of the critic", abs(losses[0] - losses[1]) < LOSS, cpu=losses[0], gpu=losses[1])


def attacks() -> None:
    images = coloured_images(70, SIZE, 4)
    predictions = []
    for device in (*on_both(), DEVICE):
        config = featurize_config(BACKBONES[-1], device)
        backbone = compose(featurizer_module._backbone(*config.backbone_arguments), config)
        torch.manual_seed(0)
        network = nn.Sequential(backbone.network, nn.LazyLinear(4).to(backbone.device))
        network(torch.zeros(1, 3, SIZE, SIZE, device=backbone.device))
        network[1].load_state_dict(linear_weights(network[1].weight.shape[1]))
        sample = RobustnessSample(replace(backbone, network=network), images)
        attack = [AttackConfig(eps=4, steps=1, restarts=1), AttackConfig(eps=4, steps=5, restarts=2)]
        rows = [*sample.attacked(attack), *sample.corrupted(["gaussian_noise", "jpeg"], [3])]
        predictions.append({f"{at} {own.variant}": own.probabilities for at, own in enumerate(rows)})
    cpu, gpu, again = predictions
    for name, rows in gpu.items():
        check("attacks", f"{name}: same bytes twice", np.array_equal(rows, again[name]))
    error = float(np.abs(cpu["0 clean"] - gpu["0 clean"]).max())
    check("attacks", "clean probabilities", error < LOSS, error=error, bound=LOSS)
    error = abs(float(cpu["1 fgsm_eps_4"].max(axis=1).mean() - gpu["1 fgsm_eps_4"].max(axis=1).mean()))
    check("attacks", "mean confidence under FGSM", error < ACCURACY, error=error, bound=ACCURACY)


def linear_weights(width: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"weight": torch.randn(4, width, generator=generator) / width**0.5, "bias": torch.zeros(4)}


def on_both() -> tuple[str, str]:
    return "cpu", DEVICE


def relative(rows: Array, expected: Array) -> float:
    """The largest distance of a row, relative to its length."""
    return float((np.linalg.norm(rows - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def close(area: str, name: str, cpu: float, gpu: float) -> None:
    check(area, f"{name}: loss as on the CPU", abs(gpu - cpu) <= LOSS * abs(cpu), cpu=cpu, gpu=gpu, bound=LOSS)


def same(first: nn.Module, other: nn.Module) -> bool:
    return digest(first) == digest(other)


def digest(network: nn.Module) -> str:
    tensors = sorted(network.state_dict().items())
    return hashlib.sha256(b"".join(tensor.cpu().contiguous().numpy().tobytes() for _, tensor in tensors)).hexdigest()


def twice(area: str, name: str, first: ModelFit, train_again: Callable[[], ModelFit]) -> None:
    with fresh_store():
        check(area, f"{name}: same bytes twice", same(first.network, train_again().network))


class fresh_store(tempfile.TemporaryDirectory):  # noqa: N801 - a block's own store
    """A store without checkpoints inside the block."""

    def __enter__(self) -> str:
        self.before = os.environ.get("AUGCACHE_STORE", "")
        os.environ["AUGCACHE_STORE"] = super().__enter__()
        return os.environ["AUGCACHE_STORE"]

    def __exit__(self, *error: Any) -> None:
        os.environ["AUGCACHE_STORE"] = self.before
        super().__exit__(*error)


def waits_of(prepare: Callable[[], Callable[[], object]]) -> int:
    """How often a piece of work waits for the GPU, which torch reports as warnings; 0 in a dry run."""
    work = prepare()
    if DEVICE == "cpu":
        work()
        return 0
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in said)


AREAS: dict[str, Callable[[], None]] = {
    "features": features,
    "heads": heads,
    "train": train,
    "finetune": finetune,
    "gan": gan,
    "attacks": attacks,
}


def main() -> None:
    area = sys.argv[1]
    try:
        AREAS[area]()
    except Exception as error:  # noqa: BLE001 - recorded, and the exit code says so
        traceback.print_exc()
        check(area, "ended", False, error=f"{type(error).__name__}: {error}"[:300])
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
