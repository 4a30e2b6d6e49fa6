"""Whether the README shows the table that `make demo` printed: python docs/check_readme.py, after `make demo`."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rerun_tutorial import masked

ROOT = Path(__file__).resolve().parents[1]
SHOWN = re.compile(r"^It ends with .*?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "..."


def stale_lines(readme: str, printed: str) -> Iterator[str]:
    """Lines of the README's table that were not printed in this order. `...` stands for whatever was left out."""
    table = SHOWN.search(readme)
    if table is None:
        raise ValueError("the README has no table after `It ends with`")
    rows = [masked(line) for line in printed.splitlines()]
    for line in table[1].splitlines():
        if line in {"", LEFT_OUT}:
            continue
        start = masked(line.removesuffix(LEFT_OUT))
        fitting = [row.startswith(start) if line.endswith(LEFT_OUT) else row == start for row in rows]
        if any(fitting):
            rows = rows[fitting.index(True) + 1 :]
        else:
            yield line


if __name__ == "__main__":
    command = [sys.executable, "-m", "stages._table"]
    table = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    stale = list(stale_lines((ROOT / "README.md").read_text(encoding="utf-8"), table))
    if stale:
        raise SystemExit("\n".join(["README.md shows what make demo did not print:", *stale]))
