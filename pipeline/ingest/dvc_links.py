"""Links that DVC makes in a workspace (`cache.type symlink`): each leads to a file of its cache, named by a hash."""

import configparser
import os
import re
from functools import cache
from pathlib import Path

CACHED = re.compile(r"(files/md5/)?[0-9a-f]{2}/[0-9a-f]{30}")  # DVC 3, and before it without the folders
CONFIGS = ("config", "config.local")


def lies_in_dvc_cache(target: str, root: str) -> bool:
    """Whether a link inside `root` leads to a file of the cache of the DVC project around it.

    target, root: without links. The project is a folder above root: what lies in root itself may come from anybody.
    """
    return any(CACHED.fullmatch(target.removeprefix(folder)) for folder in _caches(root) if target.startswith(folder))


@cache
def _caches(root: str) -> tuple[str, ...]:
    """The cache folders of the nearest DVC project above, each with a `/` at its end."""
    project = next((folder / ".dvc" for folder in Path(root).parents if (folder / ".dvc").is_dir()), None)
    if project is None:
        return ()
    named = [folder for name in CONFIGS if (folder := _cache_in(project / name))]
    return tuple(f"{os.path.realpath(project / folder)}/" for folder in ("cache", *named))


def _cache_in(path: Path) -> str:
    """The value of cache.dir in a configuration of DVC; empty without one. It counts from the folder .dvc."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return ""
    return parser.get("cache", "dir", fallback="")
