"""Jobs by name: the values of params.yaml that each of the five reports asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.edit import read_mapping
from pipeline.config.shared.section import unknown_name

FILE = Path(__file__).with_name("presets.yaml")


@dataclass(frozen=True)
class Preset:
    """about: what it is. changes: values of params.yaml by `section.key`."""

    about: str
    changes: Mapping[str, Any]


def read_presets() -> dict[str, Preset]:
    """Every preset by name."""
    presets = {}
    for name, sections in read_mapping(FILE.read_text(encoding="utf-8")).items():
        about = str(sections.pop("about"))
        values = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
        presets[name] = Preset(about, values)
    return presets


def read_preset(name: str) -> Preset:
    """One preset. Raises ParamsError for a name that does not exist; it lists the right ones."""
    presets = read_presets()
    if name not in presets:
        raise unknown_name("--preset", name, list(presets))
    return presets[name]
