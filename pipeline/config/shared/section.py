"""Values in params.yaml become frozen, checked configurations; unknown keys are refused with the right names."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.errors import ParamsError


class Section(BaseModel):
    """Base of every section. params.yaml is the one home of values, so no field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


S = TypeVar("S", bound=Section)
AUTO = "auto"  # a value that follows from others
Workers = Annotated[int, Field(ge=1)] | Literal["auto"]


def parse(kind: type[S], values: object, name: str, file: str = "params.yaml") -> S:
    """One section of a file from plain values. Raises ParamsError: the key, what was expected and what was found."""
    if not isinstance(values, Mapping):
        raise ParamsError("section is missing or not a mapping", where=f"{file} {name}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _params_error(kind, name, error.errors()[0], file) from error


def _params_error(kind: type[Section], name: str, first: Any, file: str) -> ParamsError:
    """The first thing that is wrong, as one line with the whole path of its key."""
    keys, parents, meaning = _walk(kind, first["loc"])
    path = ".".join([*filter(None, [name]), *keys])
    if first["type"] == "extra_forbidden":
        known = list(dict.fromkeys(field for parent in parents for field in parent.model_fields))
        return unknown_name(f"{file} {path}".strip(), str(first["loc"][-1]), known)
    if first["type"] == "missing":
        return ParamsError("key is missing", where=f"{file} {path}", remedy=f"Add {path} to {file}.")
    message = str(first["msg"]).removeprefix("Value error, ")
    if not keys:  # the section says itself what does not fit together
        return ParamsError(message, where=f"{file} {path}".strip())
    remedy = f"It is {meaning}." if meaning else ""
    message = message[0].lower() + message[1:]
    return ParamsError(message, where=f"{file} {path}", found=repr(first["input"]), remedy=remedy)


def _walk(kind: type[Section], loc: tuple[int | str, ...]) -> tuple[list[str], list[type[Section]], str]:
    """Down a place that pydantic names: its keys, the sections that the last step is in, and the last key's meaning.

    Between keys pydantic names members of unions, which are no keys; the tag of a section narrows the choice to it.
    """
    keys: list[str] = []
    parents = [kind]
    meaning = ""
    for part in loc:
        fields = next((parent.model_fields for parent in parents if part in parent.model_fields), None)
        if isinstance(part, int):
            keys.append(str(part))
        elif fields is not None:
            keys.append(part)
            parents = _sections_in(fields[part].annotation)
            meaning = fields[part].description or meaning
        else:
            tagged = [
                parent
                for parent in parents
                if part in get_args(getattr(parent.model_fields.get("name"), "annotation", None))
            ]
            parents = tagged or parents
    return keys, parents, meaning


def _sections_in(annotation: Any) -> list[type[Section]]:
    """Every section that a value of this type may be."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]


def unknown_name(where: str, name: str, known: list[str]) -> ParamsError:
    """The error for a name that does not exist; it lists the right ones, the nearest first."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else ""
    return ParamsError(
        "unknown name", where=where, expected="one of " + ", ".join(known), found=repr(name), remedy=hint
    )
