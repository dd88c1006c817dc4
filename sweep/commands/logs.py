"""`sweep logs`: what a job has printed."""

from typing import Annotated

import typer

from sweep.commands.jobs_common import AddressOption, JobArgument, needed_address

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def logs(
    job: JobArgument,
    address: AddressOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print until the job ends, and end with its exit code.")
    ] = False,
) -> None:
    """Print what a job has printed; --follow until it ends.

    Ctrl-C ends the printing, not the job.
    """
    from sweep.cluster.jobs import Jobs

    jobs = Jobs(needed_address(address))
    if not follow:
        typer.echo(jobs.logs(job), nl=False)
        return
    ended = jobs.follow(job, lambda text: typer.echo(text, nl=False))
    if ended.code:
        raise typer.Exit(ended.code)
