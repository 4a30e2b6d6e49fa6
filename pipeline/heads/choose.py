"""The head that evidence supports: solved linear heads, and heads trained on the staged schedule."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.schedule import epochs_of
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.evidence import RATE, Evidence, plan_evidence
from pipeline.heads.fit import Fit, fit_head, fit_spec
from pipeline.heads.groups import feature_spaces, last_layer_columns, narrowed, widened
from pipeline.heads.halving import SweepData, Trial, kept_head, run_pass, winner
from pipeline.heads.linear import LinearCandidate, LinearFit, LinearTask, fit_linear
from pipeline.heads.sets import Rows, at_most, check_sets, fit_standardizer, in_memory
from pipeline.heads.spec import HIDDEN, HeadSpec, spec_of
from pipeline.metrics.calibration import fit_temperature
from pipeline.networks.head import Head, predict_logits
from pipeline.runtime.devices import choose_device
from pipeline.runtime.progress import SILENT, Watch

LR_FACTORS = (0.25, 1.0)  # of the rule's rate
WEIGHT_DECAYS = (0.01, 0.3)
KEEP = 0.5
MOST_BYTES = 2**33  # that solving a linear head may hold beside the features: so many images are compared
SOLVER_ROWS = 3  # float32 copies of the rows that it holds: standardised, in a basis, with a column for the bias
SOLVER_LOGITS = 6  # float32 arrays of a row's logits that it holds: of two steps, their line, and their errors
SMALL_BATCH_RATE = RATE / 5  # what small products reach


@dataclass(frozen=True)
class Choice:
    """The chosen head. evidence: what decided, empty if nothing was left to choose. linear: what was solved.

    accuracy: of the linear blend and of the best trained head on the evidence, as far as they were tried.
    last_layer: if features are of several layers, the best head over the last one alone, which fine-tuning starts from.
    """

    fit: Fit
    evidence: str
    linear: list[LinearCandidate]
    accuracy: dict[str, float]
    last_layer: Head | None = None


def choose_head(
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    config: TrainHeadConfig,
    watch: Watch = SILENT,
) -> Choice:
    """Train exactly what is named; choose what is `auto`. Deterministic. Raises InputError, RecordError.

    A linear head is preferred unless a trained one is better by more than a standard error of their difference.
    """
    check_sets(train, val, config.schedule)
    compared = _comparable(train, config) if is_open(config) else train
    evidence = plan_evidence(compared, val, config) if is_open(config) else None
    if evidence is None:
        return Choice(fit_head(train, val, config, watch), "", [], {})
    sets = _Sets(train, compared, val)
    if config.lr == "auto" and config.hidden in ("auto", []):
        return _choose_with_linear(sets, config, evidence, watch)
    trial = _best_trained(_read(compared, val, config, evidence), config, evidence)
    fit = fit_spec(trial.spec, train, val, config, watch)
    return Choice(fit, sets.describe(evidence), [], {"trained": trial.accuracy})


@dataclass(frozen=True)
class _Sets:
    """By variant. train: what the chosen head is trained on. compared: as much of it as candidates are fitted on."""

    train: Mapping[str, FeatureSet]
    compared: Mapping[str, FeatureSet]
    val: Mapping[str, FeatureSet]

    @property
    def of_last_layer(self) -> "_Sets":
        """The same with the features of the last layer alone."""
        train = _narrow(self.train)
        compared = train if self.compared is self.train else _narrow(self.compared)
        return _Sets(train, compared, _narrow(self.val))

    def describe(self, evidence: Evidence) -> str:
        """What decided, and if it was part of the images, how many."""
        few, all_images = (len(sets[UNAUGMENTED]) for sets in (self.compared, self.train))
        return evidence.description + (f" over {few:,} of {all_images:,} images" if few < all_images else "")


def _narrow(sets: Mapping[str, FeatureSet]) -> dict[str, FeatureSet]:
    return {variant: narrowed(features) for variant, features in sets.items()}


def _comparable(train: Mapping[str, FeatureSet], config: TrainHeadConfig) -> Mapping[str, FeatureSet]:
    """As many images as candidates can be solved on within MOST_BYTES."""
    first = next(iter(train.values()))
    floats = SOLVER_ROWS * first.features.shape[1] + SOLVER_LOGITS * len(first.classes)
    most = MOST_BYTES // (4 * floats)
    if max(map(len, train.values())) <= most:
        return train
    return at_most(train, most, config.seed)


def _choose_with_linear(sets: _Sets, config: TrainHeadConfig, evidence: Evidence, watch: Watch) -> Choice:
    """The blend of solved heads, or the trained one if that is better. Trained heads use the last layer alone."""
    data = _read(sets.compared, sets.val, config, evidence)
    recipe = sets.train[UNAUGMENTED].recipe
    spaces = feature_spaces(recipe, len(data.standardizer.mean))
    linear = fit_linear(LinearTask(data.rows, data.evaluated, data.standardizer, data.classes, spaces), evidence)
    fit = Fit(linear.head, [], 0, _temperature(linear, sets.val, evidence, data.evaluated.labels))
    choice = Choice(fit, sets.describe(evidence), linear.candidates, {}, linear.last_layer)
    columns = last_layer_columns(recipe)
    own = sets if columns is None else sets.of_last_layer
    narrow = data if columns is None else _read(own.compared, own.val, config, evidence)
    if _work(trained_grid(config, len(narrow.standardizer.mean)), narrow, config, evidence) > _trained_budget(config):
        return choice
    right = linear.logits.argmax(dim=1) == data.evaluated.labels.cpu()
    trial = _best_trained(narrow, config, evidence, right)
    trained = fit_spec(trial.spec, own.train, own.val, config, watch)
    choice = replace(choice, accuracy={"linear": float(right.double().mean()), "trained": trial.accuracy})
    if not (trial.finished and _is_better(trial.right, right)):
        return replace(choice, fit=replace(fit, curves=trained.curves))
    if columns is None:
        return replace(choice, fit=trained)
    wide = replace(trained, head=widened(trained.head, columns, data.standardizer))
    return replace(choice, fit=wide, last_layer=trained.head)


def is_open(config: TrainHeadConfig) -> bool:
    """Whether a configuration leaves anything to choice."""
    return "auto" in (config.hidden, config.lr, config.weight_decay)


def _read(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig, evidence: Evidence
) -> SweepData:
    device = choose_device(config.device)
    names = sorted({UNAUGMENTED, *epochs_of(config.schedule)})
    rows = {variant: in_memory(train[variant], device) for variant in names}
    plain = rows[UNAUGMENTED]
    held_out = plain if evidence.count else in_memory(val[UNAUGMENTED], device)
    folds = None if evidence.folds is None else evidence.folds.to(device)
    return SweepData(rows, held_out, folds, fit_standardizer(plain), len(train[UNAUGMENTED].classes))


@dataclass(frozen=True)
class _Trained:
    """The best trained head's values, and which rows of the evidence it gets right, bool [n].

    finished: whether it was trained on every fold; if not, it was behind on the first one, and `right` is of that.
    """

    spec: HeadSpec
    right: Tensor
    finished: bool = True

    @property
    def accuracy(self) -> float:
        return float(self.right.double().mean())


def _best_trained(
    data: SweepData, config: TrainHeadConfig, evidence: Evidence, rival: Tensor | None = None
) -> _Trained:
    """The best of the grid on one fold, or val; then its answers on all of the evidence.

    rival: which rows the linear blend gets right, bool [n]. A head that is behind it on the first fold, with its best
    epoch chosen there, is not trained on the others.
    """
    specs = trained_grid(config, len(data.standardizer.mean))
    rows = data.evaluated
    if not evidence.count:
        best = winner(run_pass(specs, data, config, KEEP))
        return _Trained(best.spec, _right(best, rows, torch.ones_like(rows.labels, dtype=torch.bool)))
    best = winner(run_pass([replace(spec, fold=0) for spec in specs], data, config, KEEP))
    spec = replace(best.spec, fold=None)
    first = torch.as_tensor(data.folds == 0)
    right_at_first = _right(best, rows, first)
    if rival is not None and right_at_first.sum() < rival[first.cpu()].sum():
        return _Trained(spec, right_at_first, finished=False)
    last_epochs = replace(data, held_out=None)  # a fold must not choose the epoch by which it is compared
    folds = range(evidence.count)
    trials = run_pass([replace(best.spec, fold=fold) for fold in folds], last_epochs, config)
    right = torch.zeros(len(rows.labels), dtype=torch.bool)
    for fold, trial in enumerate(trials):
        inside = torch.as_tensor(data.folds == fold)
        right[inside.cpu()] = _right(trial, rows, inside)
    return _Trained(spec, right)


def _right(trial: Trial, rows: Rows, inside: Tensor) -> Tensor:
    """Whether a finished trial gets each row inside right, bool, on the CPU."""
    predicted = predict_logits(kept_head(trial), rows.features[inside]).argmax(dim=1).cpu()
    return predicted == rows.labels[inside].cpu()


def trained_grid(config: TrainHeadConfig, width: int) -> list[HeadSpec]:
    """Every head that the schedule may train: what is named stays, what is `auto` is varied."""
    rule = spec_of(config, width)
    hiddens = [HIDDEN] if config.hidden == "auto" and config.lr == "auto" else [rule.hidden]
    if config.hidden == "auto" and config.lr != "auto":
        hiddens = [(), HIDDEN]
    rates = [rule.lr * factor for factor in LR_FACTORS] if config.lr == "auto" else [rule.lr]
    decays = WEIGHT_DECAYS if config.weight_decay == "auto" else (rule.weight_decay,)
    augmented = {phase.variant for phase in config.schedule} > {UNAUGMENTED}
    parts: list[frozenset[str] | None] = [None, frozenset()] if augmented else [None]
    axes = itertools.product(hiddens, rates, decays, parts)
    return [
        replace(rule, hidden=hidden, lr=lr, weight_decay=decay, variants=variants)
        for hidden, lr, decay, variants in axes
    ]


def _work(specs: list[HeadSpec], data: SweepData, config: TrainHeadConfig, evidence: Evidence) -> float:
    """Floating-point operations of the grid, halved after each phase, and of the best one on every fold."""
    rows = sum(phase.epochs * len(data.rows[phase.variant].labels) for phase in config.schedule)
    hidden = specs[0].hidden[0] if specs[0].hidden else data.classes
    weights = hidden * (len(data.standardizer.mean) + data.classes)
    return 6.0 * rows * weights * (len(specs) / 2 + evidence.count + 1)


def _trained_budget(config: TrainHeadConfig) -> float:
    """Floating-point operations that trained heads may take."""
    return config.budget * SMALL_BATCH_RATE


def _is_better(trained: Tensor, linear: Tensor) -> bool:
    """By more than a standard error of the paired difference."""
    difference = trained.double() - linear.double()
    error = float(difference.std()) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
    return float(difference.mean()) > error


def _temperature(linear: LinearFit, val: Mapping[str, FeatureSet], evidence: Evidence, labels: Tensor) -> float:
    """Fitted on val, and on what was judged by folds too, as far as that was; 1 without val.

    labels: int [n], those of the evidence. The blend is calibrated on the folds already, so that they keep a val of a
    few images from changing much.
    """
    plain = val.get(UNAUGMENTED)
    if plain is None:
        return 1.0
    logits = predict_logits(linear.head, torch.from_numpy(plain.features[:]))
    own = torch.from_numpy(np.asarray(plain.labels))
    if evidence.count:
        logits = torch.cat([linear.logits.cpu(), logits])
        own = torch.cat([labels.cpu(), own])
    return fit_temperature(logits.numpy(), own.numpy())
