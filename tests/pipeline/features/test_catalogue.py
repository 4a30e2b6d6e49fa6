"""Lists of backbones by a pattern; the whole list is in tests/stages/test_featurize.py."""

import pytest

from cache.errors import ParamsError
from pipeline.features.catalogue import backbone_lines


def test_a_pattern_chooses() -> None:
    (line, last) = backbone_lines("timm:test_vit.*", None)
    assert line.startswith("timm:test_vit.r160_in1k") and "160 px" in line and "0 of ours and 1 of" in last


def test_a_pattern_of_nothing_is_refused() -> None:
    with pytest.raises(ParamsError, match="no backbone has such a name"):
        list(backbone_lines("nothing", None))
