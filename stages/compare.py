"""Compare two runs on the same test images: per variant and class, with McNemar's test, as a table and a page.

\b
  python -m stages.compare ../before/data data     two data folders
  python -m stages.compare HEAD~1 data             a git revision whose dvc.lock is committed, or a DVC experiment

Prints a line a variant. Writes --out (compare/): index.html, per_class.csv, changed.csv (images that changed side).
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import InputError
from cache.files import write_text
from cache.reader import read_images
from pipeline.evaluation.runs import find_run, read_predictions
from pipeline.metrics.compare import ChangedImage, ClassChange, compare, comparison_table
from pipeline.metrics.csv_text import rows_csv
from stages._cli import DATA, Data, Debug, description, make_app
from stages._process import running

app = make_app()


@app.command(help=description())
def main(
    before: Annotated[str, typer.Argument(help="data folder, or revision or experiment")],
    after: Annotated[str, typer.Argument(help="what is compared with it")],
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("compare"),
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="level of the intervals")] = 0.95,
    data: Data = DATA,
    debug: Debug = False,
) -> None:
    """Find both, compare every variant that both have, write, print."""
    with running("compare", debug), tempfile.TemporaryDirectory() as scratch:
        from pipeline.report.comparison_report import render_comparison

        runs = [find_run(name, Path(scratch) / number) for number, name in (("before", before), ("after", after))]
        sets = [read_predictions(run) for run in runs]
        found = [compare(one, sets[1][name], confidence) for name, one in sets[0].items() if name in sets[1]]
        if not found:
            raise InputError("no variant was judged in both", where=after, expected=", ".join(sets[0]))
        test = data / "prepare" / "test.h5"
        images = read_images(test) if test.exists() else None
        write_text(out / "index.html", render_comparison(found, (before, after), images))
        write_text(out / "per_class.csv", rows_csv(ClassChange, found[0].classes))
        write_text(out / "changed.csv", rows_csv(ChangedImage, found[0].images))
        typer.echo("\n".join(comparison_table(found)))
        typer.echo(f"compare: {out / 'index.html'}")


if __name__ == "__main__":
    app()
