"""What the verbs of batch jobs share: how a cluster and a job are named on the command line."""

from typing import Annotated

import typer

from sweep.exit_codes import SweepError
from sweep.tasks.failures import without_secrets


def checked_address(address: str | None) -> str | None:
    """Return the address of a dashboard as it was given.

    Raises:
        SweepError: it is none.
    """
    if address is not None and not address.startswith(("http://", "https://")):
        raise SweepError(
            f"--address {without_secrets(address)}: no address of a dashboard; give one such as http://head:8265"
        )
    return address


AddressOption = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="The cluster's dashboard, such as http://head:8265.",
        show_default=False,
        callback=checked_address,
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Name that `sweep submit` gave.", show_default=False)]


def needed_address(address: str | None) -> str:
    """Return the address, or say how to give one."""
    if address is None:
        raise SweepError("no cluster: give --address http://head:8265, or set RAY_API_SERVER_ADDRESS")
    return address
