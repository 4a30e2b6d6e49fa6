"""Compare two runs on the same test images: per variant and class, with McNemar's test, as a table and a page.

\b
  python -m stages.compare ../before/data data     two data folders
  python -m stages.compare data/evaluate/other data/evaluate   the head and the full model of one run
  python -m stages.compare HEAD~1 data             a git revision whose dvc.lock is committed, or a DVC experiment

Prints one line per variant. Writes to --out (compare/): index.html, per_class.csv, and changed.csv with the images
that only one of the two runs classifies correctly.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import InputError
from cache.files import write_text
from cache.reader import read_images
from pipeline.evaluation.runs import describe_running, find_run, read_predictions
from pipeline.evaluation.source_files import read_source_files, with_paths
from pipeline.metrics.compare import COLUMNS, LEGEND, ChangedImage, ClassChange, compare, comparison_rows
from pipeline.metrics.csv_text import rows_csv
from stages._cli import DATA, Data, Debug, description, make_app
from stages._process import running
from stages._table import print_table

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
        old, new = (read_predictions(run) for run in runs)
        comparisons = [compare(rows, new[name], confidence) for name, rows in old.items() if name in new]
        if not comparisons:
            raise InputError("no variant was evaluated in both", where=after, expected=", ".join(old))
        images = read_images(test) if (test := data / "prepare" / "test.h5").exists() else None
        comparisons[0] = with_paths(comparisons[0], read_source_files(data / "prepare"))
        write_text(out / "index.html", render_comparison(comparisons, (before, after), images))
        write_text(out / "per_class.csv", rows_csv(ClassChange, comparisons[0].classes))
        write_text(out / "changed.csv", rows_csv(ChangedImage, comparisons[0].images))
        print_table(COLUMNS, comparison_rows(comparisons))
        typer.echo(f"{LEGEND}\n\ncompare: {describe_running(before, after)}{comparisons[0].remark}{out / 'index.html'}")


if __name__ == "__main__":
    app()
