"""Damaged files of every format: `decode` gives Pillow's own verdict. `--fuzz N` mutates each file N times."""

import io
from collections import Counter

import numpy as np
import pytest
from pictures import FILES, FORMATS, UNDER_EXTRA
from PIL import Image

from pipeline.ingest.archive import Unreadable
from pipeline.ingest.decode import DecodeOptions, decode

MEGAPIXELS = 2.0
# Reasons of our own, for which an image that Pillow decodes may be refused.
OWN_REASONS = ("pixels, more than", "grey values are out of range", "nearly black", "checksum of its pixels")


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """Bits flipped, bytes replaced, a span zeroed, moved or cut out, or the end cut off; in the header or anywhere."""
    damaged = bytearray(content)
    reach = min(len(damaged), 256) if random.random() < 0.5 else len(damaged)
    start = int(random.integers(0, reach))
    length = int(random.integers(1, 64))
    match random.integers(0, 6):
        case 0:
            for place in random.integers(0, reach, size=int(random.integers(1, 9))):
                damaged[place] ^= 1 << int(random.integers(0, 8))
        case 1:
            for place in random.integers(0, reach, size=int(random.integers(1, 9))):
                damaged[place] = int(random.integers(0, 256))
        case 2:
            damaged[start : start + length] = bytes(len(damaged[start : start + length]))
        case 3:
            damaged[start : start + length] = random.bytes(length)
        case 4:
            del damaged[start : start + length]
        case _:
            del damaged[int(random.integers(1, len(damaged))) :]
    return bytes(damaged)


def pillows_verdict(content: bytes) -> str:
    """What Pillow makes of the first frame, strictly, with an object of its own."""
    formats = [name for name in FORMATS if name in Image.OPEN]
    verdict = "refused"
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            image.load()
            verdict = "loaded but of no colour"
            assert image.has_transparency_data in (True, False)  # raises if a palette is missing
            image.convert("RGB")
            verdict = "decoded"
    except Image.DecompressionBombError:
        return "too large"  # our limit is another: it counts what a JPEG decodes to
    except Exception:  # noqa: BLE001 - whatever it raises, it refuses
        return verdict
    return verdict


def outcome(content: bytes) -> str:
    """What came of one file; raises AssertionError if it is wrong."""
    verdict = pillows_verdict(content)
    try:
        pixels = decode(content, 16, DecodeOptions(max_megapixels=MEGAPIXELS))
    except Unreadable as error:
        reason = str(error)
        assert "\n" not in reason
        assert " at 0x" not in reason, "an address in memory would differ from run to run"
        if verdict != "decoded":
            return "refused by both"
        assert any(own in reason for own in OWN_REASONS), f"Pillow decodes what is refused: {reason}"
        return "refused for a rule of ours"
    assert verdict != "refused", "Pillow refuses what was decoded"
    assert pixels.shape == (16, 16, 3)
    return "decoded by both"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_gets_pillows_own_verdict(
    kind: str, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    if UNDER_EXTRA.get(kind, "PNG") not in Image.OPEN:
        pytest.skip("its decoder is an extra")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(MEGAPIXELS * 1e6))  # so that damaged sizes cost no memory here
    whole = FILES[kind]()
    assert outcome(whole) == "decoded by both"
    random = np.random.default_rng(sorted(FILES).index(kind))
    outcomes: Counter[str] = Counter()
    for number in range(pytestconfig.getoption("--fuzz")):
        content = mutate(whole, random)
        try:
            outcomes[outcome(content)] += 1
        except Exception as error:
            raise AssertionError(f"{kind}, mutation {number}: {content.hex()}") from error
    print(kind, dict(outcomes))  # noqa: T201 - shown with -s
    assert outcomes["refused by both"], "no mutation did any damage"
