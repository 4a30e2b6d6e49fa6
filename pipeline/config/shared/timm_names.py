"""timm's names: which exist today, and what size of images their weights expect. Importing timm takes seconds."""

import difflib
from typing import Any

from cache.errors import ParamsError

WHERE = "params.yaml featurize.backbone"


def current_name(name: str) -> str:
    """The name that timm uses today for a model, without `timm:`; deprecated names are translated.

    Raises ParamsError for an unknown model or an unknown tag, and lists the nearest.
    """
    import timm
    from timm.models import get_arch_pretrained_cfgs, get_deprecated_models

    deprecated = get_deprecated_models()
    name = deprecated.get(name) or name
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or architecture in deprecated:
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5)
        hint = f"The nearest are {', '.join(near)}." if near else ""
        raise ParamsError("timm has no such model", where=WHERE, found=repr(name), remedy=hint)
    known = [tagged.partition(".")[2] for tagged in get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in known:
        expected = f"one of {', '.join(filter(None, known))}" if any(known) else "no tag"
        raise ParamsError(f"timm has no weights {tag} of {architecture}", where=WHERE, expected=expected, found=tag)
    return name


def input_size(name: str) -> int:
    """Side in pixels of the images that a model's weights were trained on."""
    return int(pretrained_config(name).input_size[-1])


def pretrained_config(name: str) -> Any:
    """timm's own description of a model's weights: input size, mean, std, licence, where they are published."""
    import timm

    return timm.get_pretrained_cfg(current_name(name))
