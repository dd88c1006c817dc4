"""`sweep cancel`: ask a job to stop."""

import typer

from sweep.commands.jobs_common import AddressOption, JobArgument, needed_address
from sweep.tasks.failures import without_secrets

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def cancel(job: JobArgument, address: AddressOption = None) -> None:
    """Ask a job to stop; what is finished is kept.

    The driver commits it, and the same `sweep submit` goes on.
    """
    from sweep.cluster.jobs import Jobs

    jobs = Jobs(needed_address(address))
    at = without_secrets(address or "")
    if jobs.stop(job):
        typer.echo(f"{job}: asked to stop; `sweep status {job} --address {at}` says when it has")
    else:
        typer.echo(f"{job}: had ended already ({jobs.get(job).status})")
