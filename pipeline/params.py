"""Values in params.yaml become frozen, checked configurations; unknown keys are refused with the right names."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.errors import ParamsError


class Section(BaseModel):
    """Base of every section. params.yaml is the one home of values, so no field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


S = TypeVar("S", bound=Section)
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
    place = [part for part in first["loc"][:1] if part in kind.model_fields]
    if any(isinstance(part, int) for part in first["loc"][1:2]):  # an entry of a list, and a key of the entry
        place += first["loc"][1:3]
    key = ".".join([*filter(None, [name]), *map(str, place)])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return unknown_name(f"{file} {name}".strip(), str(first["loc"][-1]), list(kind.model_fields))
    if first["type"] == "missing" and len(first["loc"]) == 1:
        missing = ".".join([*filter(None, [name]), str(first["loc"][0])])
        return ParamsError("key is missing", where=f"{file} {missing}", remedy=f"Add {missing} to {file}.")
    message = str(first["msg"]).removeprefix("Value error, ")
    if not place:  # the section says itself what does not fit together
        return ParamsError(message, where=f"{file} {key}")
    meaning = kind.model_fields[place[0]].description
    return ParamsError(
        message[0].lower() + message[1:],
        where=f"{file} {key}",
        found=repr(first["input"]),
        remedy=f"It is {meaning}." if meaning else "",
    )


def unknown_name(where: str, found: str, known: list[str]) -> ParamsError:
    """The error for a name that does not exist; it lists the right ones, the nearest first."""
    near = difflib.get_close_matches(found, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else ""
    return ParamsError(
        "unknown name", where=where, expected="one of " + ", ".join(known), found=repr(found), remedy=hint
    )
