"""timm's weights by name, through the cache of huggingface_hub.

HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and HF_TOKEN mean here what they mean there.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cache.errors import InputError
from pipeline.config.shared.featurize import TIMM
from pipeline.features.timm_models import pretrained_location

FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which they are looked for
SHA256 = re.compile(r"[0-9a-f]{64}")
OFFLINE = "Without a network give the path of a file, or copy the hub's cache from a machine that has it (HF_HOME)."


@dataclass(frozen=True)
class HubFile:
    """A file of the hub as it lies in the cache. revision: the commit; sha256: of the whole file."""

    path: Path
    repository: str
    revision: str
    sha256: str

    @property
    def source(self) -> dict[str, str]:
        """What the key of a feature row says of where the weights come from."""
        return {
            "repository": self.repository,
            "revision": self.revision,
            "file": self.path.name,
            "sha256": self.sha256,
        }


@cache
def fetch_pretrained(name: str) -> HubFile:
    """The published weights of a timm name, from the cache or the hub. Raises InputError if neither has them whole."""
    repository, revision = pretrained_location(name)
    path = next((path for file in FILES if (path := _fetched(name, repository, file, revision))), None)
    if path is None:
        expected = " or ".join(FILES)
        raise InputError("the hub's repository has no weights", where=TIMM + name, expected=expected, found=repository)
    return _checked(name, repository, path)


def cached_pretrained(name: str) -> Path | None:
    """Where the published weights of a name lie on this disk; None if they do not. Sends no request."""
    from huggingface_hub import try_to_load_from_cache

    try:
        repository, revision = pretrained_location(name)
    except InputError:
        return None
    paths = [try_to_load_from_cache(repository, file, revision=revision) for file in FILES]
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _fetched(name: str, repository: str, file: str, revision: str | None) -> Path | None:
    """The file in the hub's cache, downloaded if need be; None if the repository does not hold it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, revision=revision, library_name="augcache"))
    except LocalEntryNotFoundError as error:
        if file != FILES[-1] and cached_pretrained(name):
            return None
        raise _unavailable(name, error) from error
    except EntryNotFoundError:
        return None
    except _errors() as error:
        raise _unavailable(name, error) from error


def _errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises; the HTTP library under it, whose errors these are too, differs between versions."""
    from huggingface_hub.errors import HfHubHTTPError

    return OSError, ValueError, *(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def _unavailable(name: str, error: Exception) -> InputError:
    from huggingface_hub.constants import is_offline_mode

    reason = "HF_HUB_OFFLINE is set, and the cache lacks it" if is_offline_mode() else _reason(error)
    remedy = f"Try again. {OFFLINE}"
    return InputError("weights cannot be downloaded from the hub", where=TIMM + name, found=reason, remedy=remedy)


def _reason(error: BaseException) -> str:
    """The first cause of an error in a few words, without addresses."""
    while error.__cause__ is not None:
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"HTTP status {status}" if status else re.sub(r"https?://\S+", "the hub", lines[0])


def _checked(name: str, repository: str, path: Path) -> HubFile:
    """The file with its hash. The hub names a large file's blob by its SHA-256, so damage is noticed."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    blob = path.resolve().name
    if SHA256.fullmatch(blob) and blob != digest:
        remedy = f"Delete {path.resolve()} and run the command again."
        raise InputError(
            "weights in the hub's cache are damaged", where=TIMM + name, expected=blob, found=digest, remedy=remedy
        )
    return HubFile(path, repository, path.parent.name, digest)
