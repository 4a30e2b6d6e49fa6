"""docs/quickstart.ipynb runs from nothing, and its stored outputs are those of a fresh run."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
pytestmark = pytest.mark.long  # a minute of one core
nbclient = pytest.importorskip("nbclient")


@pytest.fixture(scope="module")
def runs() -> tuple[Any, Any]:
    """The notebook as it is kept, and run again."""
    import nbformat
    from run_notebook import executed

    return nbformat.read(NOTEBOOK, as_version=4), executed(NOTEBOOK)


def outputs_of(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_the_stored_outputs_are_those_of_a_fresh_run(runs: tuple[Any, Any]) -> None:
    """Except numbers: the last digit of an accuracy may differ between processors."""
    from run_notebook import outline

    stored, fresh = runs
    assert outline(stored) == outline(fresh)


def test_pictures_of_drawn_images_are_the_same_to_the_byte(runs: tuple[Any, Any]) -> None:
    """Drawing is deterministic, and so is PNG."""
    stored, fresh = (
        [output.data["image/png"] for output in outputs_of(run) if "image/png" in output.get("data", {})]
        for run in runs
    )
    assert stored == fresh and len(stored) == 2


def test_it_is_small_and_every_cell_ran() -> None:
    assert NOTEBOOK.stat().st_size < 200_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
