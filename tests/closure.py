"""The static import closure of a stage, as law 2 counts it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {
    *("stages/_cli.py", "stages/_job.py", "stages/_process.py", "cache/errors.py"),
    "stages/_backbones.py",  # lists for the terminal
    "stages/_views.py",  # reads a flag and says what was chosen; the choice is made in pipeline/inference
    "pipeline/config/params.py",  # all sections at once; their values are `params` in dvc.yaml
}


@cache
def imports_of(path: Path) -> set[str]:
    """Files of ours that a file imports anywhere, function-level imports included."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = ROOT / f"{name.replace('.', '/')}.py"
            if name.split(".")[0] in ("cache", "pipeline", "stages") and file.is_file():
                imported.add(file.relative_to(ROOT).as_posix())
    return imported


def closure_of(start: str) -> set[str]:
    """The file and all that it imports, but for what law 2 leaves out."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        file = todo.pop()
        if file in seen or file in LEFT_OUT:
            continue
        seen.add(file)
        todo.extend(imports_of(ROOT / file))
    return seen
