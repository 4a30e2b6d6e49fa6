"""A pass gives the heads that training one after another gives; halving, folds and subsets obey their rules."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clouds import clouds
from rounding import by_adam

from cache.errors import InputError
from pipeline.config.params import Params, read_params
from pipeline.config.shared.schedule import Phase
from pipeline.config.sweep import SweepConfig
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.ablation import repeated, subsets
from pipeline.heads.fit import Fit, fit_head
from pipeline.heads.folds import fold_numbers
from pipeline.heads.halving import SweepData, Trial, make_sweep_data, run_pass, winner
from pipeline.heads.search import grid
from pipeline.heads.spec import HeadSpec

ROOT = Path(__file__).resolve().parents[3]
TRAIN = {"unaugmented": clouds(310), "color_1": clouds(310, "color_1", noise=4.0)}
VAL = {"unaugmented": clouds(200, seed=1)}


def params(*overrides: str) -> Params:
    base = ["train_head.schedule=[unaugmented x 2, color_1 x 2, unaugmented x 1]"]
    base += ["augment.variants=[spatial_1, color_1]", "train_head.batch=32", "train_head.precision=float32"]
    base += ["train_head.device=cpu", "train_head.hidden=[512]", "train_head.lr=0.01", "train_head.weight_decay=0.01"]
    return read_params(ROOT / "params.yaml", [*base, "train_head.dropout=0", *overrides])


def config(*overrides: str) -> TrainHeadConfig:
    section = params(*(f"train_head.{override}" for override in overrides)).train_head
    assert isinstance(section, TrainHeadConfig)
    return section


def data(folds: torch.Tensor | None = None) -> SweepData:
    return make_sweep_data(TRAIN, VAL if folds is None else {}, config(), folds)


SPECS = [HeadSpec(hidden, lr, 0.01, 0.0, 0.1) for hidden in ((), (24,)) for lr in (0.003, 0.02)]
# Five epochs of ten batches; the larger head has 16 x 24 + 24 x 3 weights and 27 biases.
ROUNDING = by_adam(lr=0.02, batch=32, weights=16 * 24 + 24 * 3 + 27, steps=50)


def assert_same_head(trial: Trial, other: Trial | Fit) -> None:
    """Up to rounding."""
    assert trial.head is not None and other.head is not None
    for (name, mine), theirs in zip(trial.head.state_dict().items(), other.head.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=ROUNDING, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("lr_schedule", ["constant", "onecycle"])
def test_a_pass_gives_the_heads_that_training_one_after_another_gives(optimizer: str, lr_schedule: str) -> None:
    chosen = config(f"optimizer={optimizer}", f"lr_schedule={lr_schedule}")
    for spec, trial in zip(SPECS, run_pass(SPECS, data(), chosen), strict=True):
        own = {"hidden": list(spec.hidden), "lr": spec.lr, "weight_decay": spec.weight_decay}
        alone = fit_head(TRAIN, VAL, chosen.model_copy(update=own))
        assert trial.spec == spec
        assert trial.best_epoch == alone.best_epoch
        assert_same_head(trial, alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_trains_heads_that_are_as_good() -> None:
    chosen = config("device=cuda")
    place = make_sweep_data(TRAIN, VAL, chosen)
    specs = [replace(spec, dropout=0.1 * bool(spec.hidden), mixup=0.2) for spec in SPECS]
    for spec, trial in zip(SPECS, run_pass(SPECS, place, chosen), strict=True):
        alone = fit_head(TRAIN, VAL, chosen.model_copy(update={"hidden": list(spec.hidden), "lr": spec.lr}))
        assert trial.head is not None and trial.head.mean.device.type == alone.head.mean.device.type == "cpu"
        assert trial.val_accuracy == pytest.approx(alone.curves[alone.best_epoch - 1]["val_accuracy"], abs=0.05)
    assert [own.val_accuracy for own in run_pass(specs, place, chosen)] == [
        own.val_accuracy for own in run_pass(specs, place, chosen)
    ]


def test_company_changes_nothing() -> None:
    alone = [run_pass([spec], data(), config())[0] for spec in SPECS]
    together = run_pass(SPECS, data(), config())
    for trial, other in zip(alone, together, strict=True):
        assert_same_head(trial, other)


def test_the_same_pass_twice_gives_the_same_bits() -> None:
    specs = [replace(spec, dropout=0.3, mixup=0.4) for spec in SPECS]
    once, again = (run_pass(specs, data(), config()) for _ in range(2))
    assert [trial.val_loss for trial in once] == [trial.val_loss for trial in again]
    assert len({trial.val_loss for trial in once}) == len(specs)


def test_dropout_mixup_and_smoothing_make_heads_less_sure() -> None:
    plain = HeadSpec((24,), 0.01, 0.0, 0.0, 0.0)
    others = [replace(plain, dropout=0.6), replace(plain, mixup=1.0), replace(plain, label_smoothing=0.4)]
    rows = torch.from_numpy(np.asarray(VAL["unaugmented"].features[:])).float()
    confidence = []
    for trial in run_pass([plain, *others], data(), config("schedule=[unaugmented x 8]")):
        assert trial.head is not None
        confidence.append(float(torch.softmax(trial.head(rows), dim=1).amax(dim=1).mean().detach()))
    assert all(other < confidence[0] - 0.02 for other in confidence[1:])


def test_halving_drops_the_worst_after_each_phase_and_finds_the_same_winner() -> None:
    specs = [HeadSpec(hidden, lr, 0.01, 0.0, 0.0) for hidden in ((), (24,)) for lr in (1e-6, 1e-5, 0.003, 0.02)]
    seen: list[int] = []
    halved = run_pass(specs, data(), config(), keep=0.5, advance=seen.append)
    assert sorted(trial.epochs for trial in halved) == [2] * 4 + [4] * 2 + [5] * 2
    assert sum(seen) == 310 * (8 * 2 + 4 * 2 + 2 * 1)
    assert all((trial.head is None) == (trial.epochs < 5) for trial in halved)
    whole = winner(run_pass(specs, data(), config()))
    assert winner(halved).val_accuracy >= whole.val_accuracy - 0.02


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_halving_keeps_goes_on_as_if_nothing_had_been_dropped(optimizer: str) -> None:
    """The survivors' own moments go with them, though those of one learning rate and decay stand together anew."""
    rates = [(0.02, 0.1), (0.003, 0.1), (0.003, 0.1), (1e-5, 0.1), (0.003, 0.0), (1e-5, 0.0), (0.02, 0.0), (1e-5, 0.0)]
    specs = [HeadSpec((24,), lr, decay, 0.0, 0.1, seed=number) for number, (lr, decay) in enumerate(rates)]
    chosen = config(f"optimizer={optimizer}")
    whole = run_pass(specs, data(), chosen)
    halved = run_pass(specs, data(), chosen, keep=0.5)
    kept = [(trial, other) for trial, other in zip(halved, whole, strict=True) if trial.head is not None]
    assert len(kept) == 2
    for trial, other in kept:
        assert_same_head(trial, other)


def test_a_diverging_head_is_the_worst_and_disturbs_no_other() -> None:
    sane = HeadSpec((24,), 0.01, 0.0, 0.0, 0.0)
    wild = replace(sane, lr=1e30)
    first, second = run_pass([wild, sane], data(), config("optimizer=sgd"))
    assert first.val_accuracy < second.val_accuracy and winner([first, second]).spec == sane
    with pytest.raises(InputError, match=r"every head diverged.*Lower sweep\.lr"):
        winner(run_pass([wild], data(), config("optimizer=sgd")))


def test_a_fold_is_never_trained_on() -> None:
    """Labels drawn at random can be learned by heart, but not for rows that were held out."""
    random = np.random.default_rng(0)
    train = replace(clouds(300, noise=1.0), labels=random.integers(0, 3, 300))
    folds = fold_numbers(train, 3, seed=0)
    assert folds.bincount().tolist() == [100, 100, 100]
    chosen = config("schedule=[unaugmented x 40]", "lr=0.01")
    place = make_sweep_data({"unaugmented": train}, {}, chosen, folds)
    specs = [HeadSpec((64,), 0.01, 0.0, 0.0, 0.0, fold=fold) for fold in range(3)]
    trials = run_pass(specs, place, chosen)
    assert [trial.spec.fold for trial in trials] == [0, 1, 2]
    assert max(trial.val_accuracy for trial in trials) < 0.5
    rows = {"unaugmented": train}
    by_heart = fit_head(rows, {}, chosen.model_copy(update={"hidden": [64], "label_smoothing": 0.0}))
    assert by_heart.curves[-1]["train_accuracy"] > 0.8


def test_folds_spread_classes_and_refuse_gan_variants() -> None:
    folds = fold_numbers(TRAIN["unaugmented"], 5, seed=1)
    counts = [np.bincount(TRAIN["unaugmented"].labels[folds.numpy() == fold]) for fold in range(5)]
    assert np.ptp(counts, axis=0).max() <= 1
    gan = {**TRAIN, "gan_1": clouds(310, "gan_1")}
    with pytest.raises(InputError, match="a GAN's variant cannot be cross-validated"):
        make_sweep_data(gan, {}, config().model_copy(update={"schedule": [Phase("gan_1", 1)]}), folds)


def test_without_val_or_folds_there_is_nothing_to_choose_by() -> None:
    with pytest.raises(InputError, match=r"chooses on val.*Set prepare\.val, or sweep\.folds"):
        make_sweep_data(TRAIN, {}, config())


def test_a_head_that_may_not_see_a_variant_trains_on_unaugmented_instead() -> None:
    everything = HeadSpec((), 0.01, 0.0, 0.0, 0.0)
    none = replace(everything, variants=frozenset())
    all_of = replace(everything, variants=frozenset({"color_1"}))
    trials = run_pass([everything, none, all_of], data(), config())
    plain = run_pass([everything], data(), config("schedule=[unaugmented x 5]"))[0]
    assert_same_head(trials[0], trials[2])
    assert_same_head(trials[1], plain)
    with pytest.raises(AssertionError):
        assert_same_head(trials[0], trials[1])


def test_subsets_are_all_or_all_but_one() -> None:
    names = ["unaugmented", "spatial_1", "color_1", "spatial_2"]
    assert [sorted(variants) for variants in subsets(names, "leave_one_out")] == [
        ["color_1", "spatial_1", "spatial_2"],
        ["spatial_1", "spatial_2"],
        ["color_1", "spatial_2"],
        ["color_1", "spatial_1"],
        [],
    ]
    assert len(subsets(names, "subsets")) == 8 and subsets(["unaugmented"], "leave_one_out") == [frozenset()]


def test_the_grid_is_every_combination_once() -> None:
    grids = params(
        "sweep.hidden=[[], [8]]",
        "sweep.lr=[0.1, 0.2]",
        "sweep.dropout=[0.1, 0.5]",
        "sweep.weight_decay=[0]",
        "sweep.label_smoothing=[0]",
        "sweep.mixup=[0, 0.2]",
    ).sweep
    assert isinstance(grids, SweepConfig)
    specs = grid(grids, 7)
    assert len(specs) == len(set(specs)) == 2 * 2 + 2 * 2 * 2  # dropout means nothing to a linear head
    assert {spec.seed for spec in specs} == {7}
    assert [spec.seed for spec in repeated(specs[0], 3)] == [7, 8, 9]
