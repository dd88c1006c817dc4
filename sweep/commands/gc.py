"""`sweep gc`: remove what a crash has left in a run."""

import json
from typing import Annotated

import typer

from results.wording import counted
from sweep.commands.common import BreakLockOption, JsonOption, RunArgument
from sweep.runs import locked, open_store

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def gc(
    run: RunArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
    break_lock: BreakLockOption = False,
    as_json: JsonOption = False,
) -> None:
    """Finish half-done commits and remove files that no commit knows; not while a sweep is writing there.

    A file whose commit was lost is damage, and then nothing is removed.
    """
    from results.store.lost import check_begun, check_commits

    store = open_store(run, damaged=True)
    with locked(store, breaking=break_lock):
        check_begun(store.storage)
        files = store.orphans()
        check_commits(store.manifest, files)
        if not dry_run:
            store.manifest.finish()
            files = store.remove_orphans()
    if as_json:
        typer.echo(json.dumps({"run": store.name, "removed": not dry_run, "files": files}, indent=1))
        return
    done = "would remove" if dry_run else "removed"
    typer.echo(
        "\n".join([*(f"{done}: {name}" for name in files), f"{store.name}: {done} {counted(len(files), 'file')}"])
    )
