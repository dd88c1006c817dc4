"""`sweep catalog`: every word that a sweep's YAML may use, from the registries."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from sweep.commands.common import workload_registry
from sweep.spec_axes import show_plain

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Section(StrEnum):
    """Parts of the catalog."""

    POLICIES = "policies"
    KNOBS = "knobs"
    WORKLOADS = "workloads"
    GUESTS = "guests"
    COSTS = "costs"
    COUNTERS = "counters"


@app.command()
def catalog(
    section: Annotated[Section | None, typer.Argument(help="One part of it; all if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List policies, knobs, workloads, guests, cost models and counters."""
    wanted = [section] if section is not None else list(Section)
    content = {part.value: _READERS[part]() for part in wanted}
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    for name, rows in content.items():
        typer.echo(f"{name}")
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            typer.echo(f"  {row['name']:<{width}}  {row['summary']}")
            for parameter in row.get("parameters", ()):
                typer.echo(f"  {'':<{width}}    {parameter['name']} = {parameter['default']}: {parameter['summary']}")
        typer.echo("")


def _policies() -> list[dict[str, Any]]:
    from engine.policies import POLICIES

    return [
        {"name": policy.name, "summary": policy.summary, "source": policy.source, "knobs": asdict(policy.knobs)}
        for policy in POLICIES.values()
    ]


def _knobs() -> list[dict[str, Any]]:
    from engine.policies.contract import KNOBS
    from sweep.spec_rules import knob_rules

    rules = knob_rules()
    return [
        {
            "name": name,
            "summary": f"{info.metadata['help']}; {rules[name].expected}, default {show_plain(rules[name].default)}",
        }
        for name, info in KNOBS.items()
    ]


def _workloads() -> list[dict[str, Any]]:
    return [
        {
            "name": workload.name,
            "summary": workload.summary,
            "source": workload.source,
            "parameters": [
                {"name": name, "summary": parameter.help, "default": show_plain(parameter.default)}
                for name, parameter in workload.parameters.items()
            ],
        }
        for workload in workload_registry().values()
    ]


def _guests() -> list[dict[str, Any]]:
    from engine.guests import Guest
    from sweep.spec_costs import CONFIGS
    from sweep.spec_rules import guest_rules

    rules = guest_rules()
    rows = [
        {"name": f.name, "summary": f"{rules[f.name].expected}, default {rules[f.name].default}"} for f in fields(Guest)
    ]
    files = sorted((CONFIGS / "guests").glob("*.yaml"))
    return rows + [{"name": path.stem, "summary": _first_comment(path.read_text(encoding="utf-8"))} for path in files]


def _costs() -> list[dict[str, Any]]:
    from sweep.costs import load_cost_model
    from sweep.spec_costs import CONFIGS

    return [
        {"name": path.stem, "summary": load_cost_model(path.stem).summary}
        for path in sorted((CONFIGS / "costs").glob("*.yaml"))
    ]


def _counters() -> list[dict[str, Any]]:
    from engine.vocabulary import COUNTERS

    return [{"name": info.name, "summary": f"{info.description} [{info.unit}]"} for info in COUNTERS]


def _first_comment(text: str) -> str:
    return text.splitlines()[0].removeprefix("#").strip() if text.startswith("#") else ""


_READERS: Final[dict[Section, Callable[[], list[dict[str, Any]]]]] = {
    Section.POLICIES: _policies,
    Section.KNOBS: _knobs,
    Section.WORKLOADS: _workloads,
    Section.GUESTS: _guests,
    Section.COSTS: _costs,
    Section.COUNTERS: _counters,
}
