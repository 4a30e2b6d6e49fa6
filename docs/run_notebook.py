"""Run a notebook and keep its outputs: python docs/run_notebook.py docs/quickstart.ipynb. A test does so as well."""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # that a cell may take on a busy machine


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, run in the clone's folder by this Python."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for `!python`
    NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
    return notebook


def merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs in order, texts that came in pieces joined; warnings of libraries are left out."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            output.text = output.text.replace("\r\n", "\n")  # a terminal's ends of lines
        else:
            output.data.pop("image/jpeg", None)  # PNG is there as well
        if kept and output.output_type == kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def outline(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Of each code cell what its outputs say, without numbers, folders and pixels, which differ between machines."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[line for output in cell.outputs for line in lines_of(output)] for cell in cells]


def lines_of(output: nbformat.NotebookNode) -> list[str]:
    """The lines of a text, numbers as #; a picture as its media type."""
    if output.output_type == "stream":
        text = output.text
    else:
        pictures = [kind for kind in output.data if kind.startswith("image/")]
        text = pictures[0] if pictures else output.data["text/plain"]
    text = re.sub(r"/\S*augcache-\w+", "FOLDER", text)
    return re.sub(r"\d+(\.\d+)?(e-\d+)?", "#", text).splitlines()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        nbformat.write(executed(Path(name)), name)
