"""Change values in the text of params.yaml; everything else stays as it is written, comments included."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from cache.errors import ParamsError
from pipeline.config.shared.section import unknown_name

WIDE = 1 << 20  # characters: a value is written on one line
YAML_1_1 = re.compile(r"y|yes|n|no|on|off|[-+]?[0-9_]+(:[0-9]+)+|[-+]?0[0-7_]+", re.IGNORECASE)  # that 1.2 calls text


def edit_params(text: str, changes: Mapping[str, Any]) -> str:
    """The text with new values. changes: by `section.key`, or deeper: `augment.policies.mild`.

    A value that says the same already stays as it is written. A comment at the end of a changed line goes with the old
    value, which it was about. A key that is not there is added as the last of its mapping. Raises ParamsError if the
    text is no YAML or has no such section.
    """
    values = _read(text)
    changed = {path: value for path, value in changes.items() if not _says(values, path, value)}
    node = YAML().compose(text) if changed else None
    lines = text.splitlines(keepends=True)
    edits = [_edit(lines, node, path, f"{path.rpartition('.')[2]}: {_as_yaml(own)}") for path, own in changed.items()]
    for edit in sorted(edits, key=lambda own: own.first, reverse=True):  # from the end, so that numbers stay right
        lines[edit.first : edit.end] = [edit.line]
    return "".join(lines)


def read_value(text: str, path: str) -> Any:
    """The value at `section.key`; None if there is none. Raises ParamsError if the text is no YAML."""
    return value_at(_read(text), path)


def value_at(values: Any, path: str) -> Any:
    """The value at `section.key` of nested mappings; None if there is none."""
    value = values
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _says(values: Any, path: str, value: Any) -> bool:
    """Whether the key is there and has this value; null and no key are two things."""
    parent, _, last = path.rpartition(".")
    section = value_at(values, parent)
    return isinstance(section, Mapping) and last in section and section[last] == value


def read_mapping(text: str) -> dict[str, Any]:
    """The plain values of a YAML text that is a mapping. Raises ParamsError."""
    values = _read(text)
    if not isinstance(values, dict):
        raise ParamsError("is not a mapping of sections")
    return values


def _read(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ParamsError(f"cannot be read: {' '.join(str(error).split())[:200]}") from error


@dataclass(frozen=True)
class _Edit:
    """Lines from `first` to before `end` become one; none of them if both are the same."""

    first: int
    end: int
    line: str


def _edit(lines: list[str], node: Node | None, path: str, entry: str) -> _Edit:
    """Where an entry `key: value` belongs. Raises ParamsError if the text has no such section."""
    *parents, last = path.split(".")
    for key in parents:
        known = [str(name.value) for name, _ in _pairs(node)]
        node = next((inner for name, inner in _pairs(node) if name.value == key), None)
        if node is None:
            raise unknown_name(path, key, known)
    pair = next((pair for pair in _pairs(node) if pair[0].value == last), None)
    if pair is not None:
        key_node, value = pair
        first = key_node.start_mark.line
        return _Edit(first, _last_line(lines, first, value) + 1, f"{' ' * key_node.start_mark.column}{entry}\n")
    if not _pairs(node) or getattr(node, "flow_style", True):
        raise ParamsError("cannot be added to", where="params.yaml", expected="a mapping with one key per line")
    key_node, value = _pairs(node)[-1]
    place = _last_line(lines, key_node.start_mark.line, value) + 1
    lines[place - 1] = lines[place - 1].rstrip("\n") + "\n"
    return _Edit(place, place, f"{' ' * key_node.start_mark.column}{entry}\n")


def _pairs(node: Node | None) -> list[tuple[Node, Node]]:
    return list(node.value) if isinstance(node, MappingNode) else []


def _last_line(lines: list[str], first: int, value: Node) -> int:
    """The line on which a value ends: a block's mark lies behind the blank lines and comments that follow it."""
    end: Any = value.end_mark
    last: int = end.line if end.column and not _is_empty(lines[end.line][: end.column]) else end.line - 1
    while last > first and _is_empty(lines[last]):
        last -= 1
    return max(first, last)


def _is_empty(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _as_yaml(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return "null"
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = True
    writer.width = WIDE
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.representer.add_representer(str, _represent_text)
    target = io.StringIO()
    writer.dump(value, target)
    return target.getvalue().removesuffix("...\n").strip()


def _represent_text(representer: Any, text: str) -> Any:
    """In quotes if a reader of YAML 1.1, such as PyYAML, would take it for something else."""
    style = '"' if YAML_1_1.fullmatch(text) else None
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)
