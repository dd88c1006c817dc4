"""`sweep doctor`: is this machine, or a cluster, fit for a sweep?"""

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.exit_codes import ExitCode, SweepError

if TYPE_CHECKING:
    from sweep.cluster.checks import Check

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster whose nodes are looked at, such as head:6379; this machine if not given."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="RUN", help="Try this run path from every node.", show_default=False)
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Wait until the cluster has so many nodes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether this machine or a cluster is fit for a sweep.

    Where it is not, each finding says what to do.
    """
    from sweep.cluster.checks import CheckState
    from sweep.runs import results_errors

    if address is not None and ":" not in address:
        raise SweepError(f"--address {address}: no HOST:PORT of a head; give one such as head:6379")
    with results_errors():
        checks = _here(out) if address is None else _there(address, out, nodes)
    bad = [check for check in checks if check.state is CheckState.FAILED]
    if as_json:
        typer.echo(json.dumps({"fit": not bad, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        typer.echo("\n".join(_lines(checks)))
    if bad:
        raise typer.Exit(ExitCode.UNFIT)


def _here(out: str | None) -> "list[Check]":
    from sweep.backends.ray.facts import gather_facts
    from sweep.cluster.checks import Seen, check_nodes
    from sweep.cluster.shared import check_place, probe_run

    facts = gather_facts()
    checks = check_nodes([Seen(node=facts.host, facts=facts, skew=0.0, uncertainty=0.0)], facts)
    if out is not None:
        checks += check_place(out, lambda place: [probe_run(place, facts.host)])
    return checks


def _there(address: str, out: str | None, nodes: int | None) -> "list[Check]":
    from sweep.cluster.doctor import check_cluster

    # A relative path means another folder on another node.
    run = out if out is None or "://" in out else os.path.abspath(out)  # noqa: PTH100  Links stay as the user wrote them.
    return check_cluster(address, run=run, nodes=nodes)


def _lines(checks: "list[Check]") -> list[str]:
    names = max(len(check.name) for check in checks)
    places = max(len(check.where) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<7}  {check.name:<{names}}  {check.where:<{places}}  {check.found}")
        if check.advice:
            lines.append(f"{'':<7}  {'':<{names}}  to do: {check.advice}")
    bad = sum(check.state == "failed" for check in checks)
    lines.append(f"{len(checks)} checks, {bad} failed" if bad else f"{len(checks)} checks, none failed")
    return lines
