"""Where figures come from: package versions, the machine, and the command that repeats a run."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cache.errors import ParamsError
from pipeline.config.shared.section import Section, parse

PACKAGES = (
    *("augcache", "torch", "torchvision", "timm", "efficientnet-pytorch", "imgaug", "opencv-python-headless"),
    *("numpy", "h5py", "pillow", "scikit-learn", "scipy", "dask", "dvc"),
)
PLAIN = re.compile(r"[A-Za-z0-9_./:+-]+")


@dataclass(frozen=True)
class Provenance:
    """What made a page. params: params.yaml as used. revision: git's, empty where unknown."""

    params: str
    revision: str
    commands: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    machine: str


def make_provenance(params: str, used: Mapping[str, Any], committed: Mapping[str, Any], revision: str) -> Provenance:
    """Describe this run; `committed` is what params.yaml holds at `revision`, empty where unknown."""
    changed = [f"-S {shlex.quote(change)}" for change in overrides(committed, used)] if committed else []
    commands = [f"git checkout {revision.split(maxsplit=1)[0]}"] if revision else []
    commands.append(" ".join(["dvc exp run", *changed]) if changed else "dvc repro")
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} processors"
    return Provenance(params, revision, tuple(commands), tuple(package_versions()), machine)


def plain_values(sections: Mapping[str, Section]) -> dict[str, Any]:
    """The values of each section, as YAML and JSON can hold them."""
    return {name: section.model_dump(mode="json") for name, section in sections.items()}


def plain_values_like(sections: Mapping[str, Section], values: Any) -> dict[str, Any]:
    """Other values for the same sections, in the same form; empty where they do not fit these sections."""
    try:
        return plain_values({name: parse(type(section), values[name], name) for name, section in sections.items()})
    except (ParamsError, KeyError, TypeError):
        return {}


def git(*arguments: str) -> str:
    """What git says of the current folder; empty where git or a repository is missing."""
    program = shutil.which("git")
    if program is None:
        return ""
    said = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - own words
    return said.stdout.strip() if said.returncode == 0 else ""


def git_revision() -> str:
    """The commit that the code is at, and whether the code differs from it; empty where unknown."""
    revision = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "cache", "pipeline", "stages", "dvc.yaml")
    return f"{revision} with changes" if revision and changed else revision


def package_versions() -> Iterator[tuple[str, str]]:
    """Name and version of each package that decides results, as far as it is installed."""
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def overrides(committed: Mapping[str, Any], used: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Each `section.key=value` in which the values used differ from the committed ones."""
    for key, value in used.items():
        before = committed.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and set(before) <= set(value):
            yield from overrides(before, value, f"{prefix}{key}.")
        elif key not in committed or before != value:
            yield f"{'' if key in committed else '+'}{prefix}{key}={_override_value(value)}"


def _override_value(value: Any) -> str:
    """A value in the grammar of `-S` (Hydra's): as JSON, but keys and plain words stand without quotes."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_override_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_override_value, value)) + "]"
    plain = isinstance(value, str) and PLAIN.fullmatch(value)
    return value if plain else json.dumps(value, ensure_ascii=False)
