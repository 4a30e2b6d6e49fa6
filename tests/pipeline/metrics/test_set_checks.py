"""Sets of other images, or of the same images in another order, are refused."""

from dataclasses import replace

import numpy as np
import pytest
from scored import SIX_OF_TEN

from cache.errors import RecordError
from pipeline.metrics.set_checks import check_same_rows


@pytest.mark.parametrize("column", ["ids", "labels"])
def test_rows_in_another_order_are_refused(column: str) -> None:
    other = replace(SIX_OF_TEN, **{column: np.roll(getattr(SIX_OF_TEN, column), 1)})
    expected = r"test: they differ; expected the same ids and labels in the same order\. Run it again\."
    with pytest.raises(RecordError, match=expected):
        check_same_rows(SIX_OF_TEN, other, "they differ", where="test", remedy="Run it again.")


def test_a_set_of_fewer_rows_is_refused_and_an_equal_one_is_not() -> None:
    fewer = replace(SIX_OF_TEN, **{name: getattr(SIX_OF_TEN, name)[:9] for name in ("ids", "labels", "probabilities")})
    with pytest.raises(RecordError):
        check_same_rows(SIX_OF_TEN, fewer, "they differ")
    check_same_rows(SIX_OF_TEN, replace(SIX_OF_TEN, variant="color_1"), "they differ")
