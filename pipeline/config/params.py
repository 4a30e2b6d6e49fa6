"""The whole of params.yaml: every section, and what they say of each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from cache.errors import ParamsError
from cache.records import UNAUGMENTED
from pipeline.config.augment import AugmentConfig
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.gan import GanConfig
from pipeline.config.prepare import PrepareConfig
from pipeline.config.pretrain import PretrainConfig
from pipeline.config.recipe import read_recipe
from pipeline.config.report import ReportConfig
from pipeline.config.search import SearchConfig
from pipeline.config.shared.featurize import FeaturizeConfig, with_sizes
from pipeline.config.shared.schedule import ALL, Phase, variants_of
from pipeline.config.shared.section import Section, parse, unknown_name
from pipeline.config.shared.variants import GAN_VARIANT
from pipeline.config.sweep import SweepConfig
from pipeline.config.train_head import TrainHeadConfig
from pipeline.config.train_model import OFF, TrainModelConfig


@dataclass(frozen=True)
class Params:
    """The sections of params.yaml: those of dvc.yaml's stages in their order, then those of other commands."""

    prepare: PrepareConfig
    augment: AugmentConfig
    gan: GanConfig
    featurize: FeaturizeConfig
    train_head: TrainHeadConfig
    train_model: TrainModelConfig
    evaluate: EvaluateConfig
    report: ReportConfig
    pretrain: PretrainConfig
    sweep: SweepConfig
    search: SearchConfig

    @property
    def sections(self) -> dict[str, Section]:
        """Every section by name, in order."""
        return dict(vars(self))

    @property
    def model_schedule(self) -> list[Phase]:
        """The schedule of the full model; empty if none is trained."""
        model = self.train_model
        return [] if model.recipe == OFF else read_recipe(model.recipe, model.override).schedule


SECTIONS: dict[str, type[Section]] = get_type_hints(Params)
STAGES = tuple(name for name in SECTIONS if name not in ("pretrain", "sweep", "search"))  # those of dvc.yaml


def read_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Every section by name, with overrides `section.key=value` put in. Raises ParamsError before any work."""
    return parse_params(read_text(path), path, overrides)


def read_text(path: Path) -> str:
    """The text of a file of values. Raises ParamsError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ParamsError("no such file", where=path, remedy="Run from the clone, or give --params.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"cannot be read: {error}", where=path) from error


def parse_params(text: str, path: Path, overrides: Sequence[str] = ()) -> Params:
    """The same from the text of a file. path: for errors."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError(f"cannot be read: {error}", where=path) from error
    if not isinstance(values, dict):
        raise ParamsError("is not a mapping of sections", where=path)
    for override in overrides:
        _put_in(values, override)
    for name in values:
        if name not in SECTIONS:
            raise unknown_name(str(path), str(name), list(SECTIONS))
    values = with_sizes(values)
    sections: dict[str, Any] = {name: parse(kind, values.get(name), name) for name, kind in SECTIONS.items()}
    params = Params(**sections)
    _check_references(params)
    return params


def _put_in(values: dict[str, Any], override: str) -> None:
    """Put one `section.key=value` in; the value is YAML, as on DVC's command line."""
    path, text = split_override(override)
    keys = path.split(".")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError("override is not YAML", where=f"--set {path}", found=repr(text)) from error
    target: Any = values
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(target, dict) or not isinstance(target.get(key), dict):
            known = list(target) if isinstance(target, Mapping) else []
            raise unknown_name(f"--set {'.'.join(keys[: depth + 1])}", key, [str(name) for name in known])
        target = target[key]
    if keys[-1] not in target and len(keys) == 2:
        raise unknown_name(f"--set {path}", keys[-1], [str(name) for name in target])
    target[keys[-1]] = value


def split_override(override: str) -> tuple[str, str]:
    """The path and the text of `section.key=value`. Raises ParamsError."""
    path, equals, text = override.partition("=")
    if not equals or "." not in path:
        raise ParamsError("override is not section.key=value", where="--set", found=repr(override))
    return path.strip(), text


def _check_references(params: Params) -> None:
    """Refuse a schedule that names a variant which nothing makes."""
    samples = [] if params.gan.kind == OFF else [GAN_VARIANT]
    variants = [UNAUGMENTED, *params.augment.variants, *samples]
    schedules = {"params.yaml train_head.schedule": params.train_head.schedule}
    model = params.train_model
    if model.recipe != OFF:
        schedules[f"schedule of the recipe {model.recipe}"] = params.model_schedule
    for where, schedule in schedules.items():
        for variant in sorted(variants_of(schedule) - {ALL, *variants}):
            raise unknown_name(where, variant, [*variants, ALL])
