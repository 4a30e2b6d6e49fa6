"""The head that evidence supports: solved linear heads, and heads trained on the staged schedule."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.schedule import epochs_of
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.evidence import RATE, Evidence, plan_evidence
from pipeline.heads.fit import Fit, fit_head, fit_spec
from pipeline.heads.halving import SweepData, kept_head, run_pass, winner
from pipeline.heads.linear import STRENGTHS, LinearCandidate, LinearFit, fit_linear
from pipeline.heads.sets import check_sets, fit_standardizer, in_memory
from pipeline.heads.spec import HIDDEN, HeadSpec, spec_of
from pipeline.metrics.calibration import fit_temperature
from pipeline.networks.head import predict_logits
from pipeline.runtime.devices import choose_device

LR_FACTORS = (0.25, 1.0)  # of the rule's rate
WEIGHT_DECAYS = (0.01, 0.3)
KEEP = 0.5
SMALL_BATCH_RATE = RATE / 5  # what small products reach


@dataclass(frozen=True)
class Choice:
    """The chosen head. evidence: what decided, empty if nothing was left to choose. linear: solutions in the blend.

    accuracy: of the linear blend and of the best trained head on the evidence, as far as they were tried.
    """

    fit: Fit
    evidence: str
    linear: list[LinearCandidate]
    accuracy: dict[str, float]


def choose_head(
    train: Mapping[str, FeatureSet],
    val: Mapping[str, FeatureSet],
    config: TrainHeadConfig,
    advance: Callable[[int], object] = lambda count: None,
) -> Choice:
    """Train exactly what is named; choose what is `auto`. Deterministic. Raises InputError, RecordError.

    A linear head is preferred unless a trained one is better by more than a standard error of their difference.
    """
    check_sets(train, val, config.schedule)
    evidence = plan_evidence(train, val, config, len(STRENGTHS)) if is_open(config) else None
    if evidence is None:
        return Choice(fit_head(train, val, config, advance), "", [], {})
    data = _read(train, val, config, evidence)
    linear = None
    if config.lr == "auto" and config.hidden in ("auto", []):
        linear = fit_linear(data.rows, data.evaluated, data.standardizer, data.classes, evidence)
    trial = _best_trained(data, config, evidence, needed=linear is None)
    if linear is None:
        fit = fit_spec(trial.spec, train, val, config, advance) if trial else fit_head(train, val, config, advance)
        return Choice(fit, evidence.description, [], {"trained": trial.accuracy} if trial else {})
    fit = Fit(linear.head, [], 0, _temperature(linear, val))
    if trial is None:
        return Choice(fit, evidence.description, linear.candidates, {})
    trained = fit_spec(trial.spec, train, val, config, advance)
    right = linear.logits.argmax(dim=1) == data.evaluated.labels.cpu()
    accuracy = {"linear": float(right.double().mean()), "trained": trial.accuracy}
    better = _is_better(trial.right, right)
    fit = trained if better else replace(fit, curves=trained.curves)
    return Choice(fit, evidence.description, linear.candidates, accuracy)


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
    """The best trained head's values, and which rows of the evidence it gets right, bool [n]."""

    spec: HeadSpec
    right: Tensor

    @property
    def accuracy(self) -> float:
        return float(self.right.double().mean())


def _best_trained(data: SweepData, config: TrainHeadConfig, evidence: Evidence, needed: bool) -> _Trained | None:
    """The best of the grid on one fold, or val; then its answers on all of the evidence. None if over the budget."""
    specs = trained_grid(config, len(data.standardizer.mean))
    if _work(specs, data, config, evidence) > config.budget * SMALL_BATCH_RATE and not needed:
        return None
    if not evidence.count:
        best = winner(run_pass(specs, data, config, KEEP))
        predicted = predict_logits(kept_head(best), data.evaluated.features).argmax(dim=1)
        return _Trained(best.spec, (predicted == data.evaluated.labels).cpu())
    best = winner(run_pass([replace(spec, fold=0) for spec in specs], data, config, KEEP))
    last_epochs = replace(data, held_out=None)  # a fold must not choose the epoch by which it is compared
    folds = range(evidence.count)
    trials = run_pass([replace(best.spec, fold=fold) for fold in folds], last_epochs, config)
    rows = data.evaluated
    right = torch.zeros_like(rows.labels, dtype=torch.bool)
    for fold, trial in enumerate(trials):
        inside = torch.as_tensor(data.folds == fold)
        predicted = predict_logits(kept_head(trial), rows.features[inside]).argmax(dim=1)
        right[inside] = predicted.to(right.device) == rows.labels[inside]
    return _Trained(replace(best.spec, fold=None), right.cpu())


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


def _is_better(trained: Tensor, linear: Tensor) -> bool:
    """By more than a standard error of the paired difference."""
    difference = trained.double() - linear.double()
    error = float(difference.std()) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
    return float(difference.mean()) > error


def _temperature(linear: LinearFit, val: Mapping[str, FeatureSet]) -> float:
    """Fitted on val; 1 without it, since the blend is calibrated on the folds."""
    plain = val.get(UNAUGMENTED)
    if plain is None:
        return 1.0
    logits = predict_logits(linear.head, torch.from_numpy(plain.features[:]))
    return fit_temperature(logits.numpy(), plain.labels)
