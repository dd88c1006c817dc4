"""What the verbs of batch jobs share: how a cluster and a job are named on the command line."""

from typing import Annotated

import typer

from sweep.exit_codes import SweepError

AddressOption = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, such as http://head:8265.", show_default=False
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Name that `sweep submit` gave.", show_default=False)]


def needed_address(address: str | None) -> str:
    """Return the address, or say how to give one."""
    if address is None:
        raise SweepError("no cluster: give --address http://head:8265, or set RAY_API_SERVER_ADDRESS")
    return address
