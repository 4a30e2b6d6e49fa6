"""See and tidy the store of computed rows and checkpoints (AUGCACHE_STORE, else the user's cache folder).

No stage of dvc.yaml. What is pruned is computed again when it is asked for."""

import sys
from typing import Annotated

import typer
from tqdm import tqdm

from cache.errors import AugcacheError
from cache.maintenance import choose_prunable, list_recipes, remove_all_stale, remove_parts, stored_paths, table, verify
from cache.parts import store_folder

MIB = 1 << 20
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@app.command("list")
def show() -> None:
    """List recipes: parts, rows, size, days since they were last used."""
    recipes = list_recipes(store_folder())
    typer.echo("\n".join(table(recipes)))
    total = sum(recipe.bytes for recipe in recipes) / MIB
    typer.echo(f"store: {len(recipes):,} recipes, {total:,.1f} MiB in {store_folder()}")


@app.command("verify")
def check() -> None:
    """Read and check every byte of every file; name the damaged ones, exit code 2 if there are any."""
    parts = stored_paths(store_folder())
    with tqdm(total=len(parts), unit="part", desc="verify", disable=None, leave=False) as bar:
        wrong = verify(store_folder(), bar.update)
    typer.echo("".join(f"error: {line}\n" for line in wrong), err=True, nl=False)
    typer.echo(f"store: {len(parts):,} parts read, {len(wrong):,} damaged")
    raise typer.Exit(2 if wrong else 0)


@app.command("prune")
def prune(
    older_than: Annotated[float, typer.Option(min=0, help="remove recipes not used for so many days")] = float("inf"),
    at_most: Annotated[float, typer.Option(min=0, help="then the oldest, until so many GiB are left")] = float("inf"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and remove nothing")] = False,
) -> None:
    """Remove parts by age and by total size, and whatever dead processes left half written."""
    parts = choose_prunable(store_folder(), older_than * 86_400, at_most * 1024 * MIB)
    removed = f"{len(parts):,} parts, {sum(path.stat().st_size for path in parts) / MIB:,.1f} MiB"
    if dry_run:
        typer.echo("\n".join([*map(str, parts), f"store: would remove {removed}"]))
    else:
        remove_parts(parts)
        typer.echo(f"store: removed {removed}, and {remove_all_stale(store_folder()):,} half-written files")


if __name__ == "__main__":
    try:
        app()
    except (AugcacheError, OSError) as failure:
        typer.echo(f"error: {failure}", err=True)
        sys.exit(2)
