"""Apply a person's corrections of labels: the next run trains on them. The photos themselves are never touched.

\b
  python -m stages.relabel                      takes data/report/review.csv, which the report stage wrote
  python -m stages.relabel mine.csv             any table with columns file, action and label
  python -m stages.relabel --accept 0.95        takes suggestions of at least this probability for suspected labels
Write `relabel`, `drop` or `keep` into column action of a row, and the right class into column label if it is another
one than the suggested. Rows without an action stay as they are. Corrections are added to earlier ones, in a table
beside the source that prepare.relabel names; params.yaml is changed, and the old one kept as params.yaml.bak. A later
decision on the same file replaces the earlier one: to take one back, give a table whose row says `keep`.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.params import read_params
from pipeline.ingest.relabels import decisions, merged, read_corrections
from pipeline.report.corrections import next_steps, read_review, refuse_unknown_classes, summary_of, write_corrections
from stages._cli import DATA, PARAMS, Data, Debug, Values, description, make_app
from stages._params_file import change_params, next_command
from stages._process import running

app = make_app()


@app.command(help=description())
def main(
    table: Annotated[Path | None, typer.Argument(help="a table of corrections, not data/report/review.csv")] = None,
    accept: Annotated[float, typer.Option(help="take suggestions that are at least so probable; 2: none")] = 2.0,
    reset: Annotated[bool, typer.Option("--reset", help="forget all corrections")] = False,
    params: Values = PARAMS,
    data: Data = DATA,
    debug: Debug = False,
) -> None:
    """Read, merge with earlier corrections, write, name the table in params.yaml."""
    with running("relabel", debug):
        given = read_params(params)
        if reset:
            typer.echo(f"relabel: {change_params(params, {'prepare.relabel': None})}")
            return
        corrections = read_review(table or data / "report" / "review.csv", accept)
        refuse_unknown_classes(corrections, data / "prepare" / "manifest.json")
        decided = decisions(corrections)
        if not decided:
            typer.echo("relabel: no row has an action; write relabel, drop or keep into column action")
            return
        together = merged(read_corrections(given.prepare.relabel) if given.prepare.relabel else {}, corrections)
        path = write_corrections(given.prepare, together)
        earlier = len(decisions(together)) - len(decided)
        also = f", beside {earlier:,} from before" if earlier else ""
        typer.echo(f"relabel: {summary_of(corrections)}{also}, in {path}")
        typer.echo(f"relabel: {change_params(params, {'prepare.relabel': str(path)})}")
        for line in next_steps(data, given.train_model, next_command(params)):
            typer.echo(f"relabel: {line}")


if __name__ == "__main__":
    app()
