"""`sweep fsck`: is a run what its manifest says?"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from results.wording import counted
from sweep.commands.common import JsonOption, RunArgument
from sweep.exit_codes import ExitCode
from sweep.progress import format_bytes
from sweep.runs import results_errors, spec_problems

if TYPE_CHECKING:
    from results.store.run_store import RunStore
    from results.upkeep.fsck import Checkup

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def fsck(run: RunArgument, as_json: JsonOption = False) -> None:
    """Check every file of a run against its manifest, and say what gc and compact would do; change nothing."""
    from results.store.run_store import RunStore
    from results.upkeep.fsck import check_run

    with results_errors():
        store = RunStore(run)
        checkup = check_run(store)
        _note_spec(store, checkup)
    typer.echo(json.dumps(checkup.content(), indent=1) if as_json else "\n".join(_lines(checkup)))
    if checkup.is_damaged:
        raise typer.Exit(ExitCode.DAMAGED)


def _note_spec(store: "RunStore", checkup: "Checkup") -> None:
    """Add to what was found that spec.json holds something else than a sweep."""
    from results.store.lost import SPEC_FILE
    from results.upkeep.fsck import REWRITTEN, Level

    if any(finding.place == SPEC_FILE for finding in checkup.findings):
        return
    problems = "; ".join(spec_problems(store.spec()))
    if problems:
        checkup.add(Level.DAMAGE, SPEC_FILE, f"no specification of a sweep: {problems}", REWRITTEN)


def _lines(checkup: "Checkup") -> Iterator[str]:
    for finding in checkup.findings:
        yield f"{finding.level}: {finding.place}: {finding.what}\n  {finding.then}"
    rows = ", ".join(f"{count} {table}" for table, count in checkup.rows.items()) or "no rows"
    verdict = "DAMAGED" if checkup.is_damaged else "sound"
    yield f"{checkup.run}: {rows} in {counted(checkup.files, 'file')} ({format_bytes(checkup.bytes)}): {verdict}"
