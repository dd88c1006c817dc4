"""`sweep compact`: a few sorted files instead of many."""

import json
import math
from typing import TYPE_CHECKING

import typer

from results.wording import counted
from sweep.commands.common import BreakLockOption, JsonOption, RunArgument
from sweep.runs import locked, open_store, results_errors

if TYPE_CHECKING:
    from results.store.manifest import ManifestEntry

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def compact(run: RunArgument, break_lock: BreakLockOption = False, as_json: JsonOption = False) -> None:
    """Make a few sorted files of a run's many, as a finished sweep does; not while a sweep is writing there."""
    from results.store.soundness import check_sound
    from results.upkeep.compaction import compact as compact_run

    store = open_store(run)
    with results_errors(run), locked(store, breaking=break_lock):
        store.manifest.finish()
        # What is rewritten gets a new hash, and nobody could tell any more.
        check_sound(store, hashed_bytes=math.inf)
        before = _files(store.manifest.live())
        compact_run(store)
        after = _files(store.manifest.live())
    if as_json:
        typer.echo(json.dumps({"run": store.name, "files_before": before, "files": after}, indent=1))
        return
    typer.echo(
        f"{store.name}: {counted(before, 'file')} became {after}"
        if before != after
        else f"{store.name}: {counted(after, 'file')}"
    )


def _files(entries: "list[ManifestEntry]") -> int:
    return sum(len(entry.parts) for entry in entries)
