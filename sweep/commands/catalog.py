"""`sweep catalog`: every word that a sweep's YAML may use, from the registries."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from engine.fields import Field
from sweep.commands.common import workload_registry
from sweep.spec.axes import show_plain

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
            typer.echo(f"  {row['name']:<{width}}  {row['summary']}{_allowed(row)}")
            for parameter in row.get("parameters", ()):
                typer.echo(f"  {'':<{width}}    {parameter['name']}: {parameter['summary']}{_allowed(parameter)}")
        typer.echo("")


def _policies() -> list[dict[str, Any]]:
    from sweep.spec.policies import shipped_policies

    return [asdict(policy) for policy in shipped_policies().values()]


def _knobs() -> list[dict[str, Any]]:
    from engine.knobs import KNOBS

    return _described(KNOBS)


def _workloads() -> list[dict[str, Any]]:
    return [
        {"name": one.name, "summary": one.summary, "source": one.source, "parameters": _described(one.parameters)}
        for one in workload_registry().values()
    ]


def _guests() -> list[dict[str, Any]]:
    from engine.guests import GUEST_FIELDS
    from sweep.spec.configs import CONFIGS

    files = sorted((CONFIGS / "guests").glob("*.yaml"))
    named = [{"name": path.stem, "summary": _first_comment(path.read_text(encoding="utf-8"))} for path in files]
    return _described(GUEST_FIELDS) + named


def _described(fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    return [{"name": name, **field.described()} for name, field in fields.items()]


def _costs() -> list[dict[str, Any]]:
    from sweep.spec.configs import config_names
    from sweep.spec.costs import load_cost_model

    return [{"name": name, "summary": load_cost_model(name).summary} for name in config_names("costs")]


def _counters() -> list[dict[str, Any]]:
    from engine.vocabulary import COUNTERS

    return [{"name": info.name, "summary": f"{info.description} [{info.unit}]"} for info in COUNTERS]


def _allowed(row: Mapping[str, Any]) -> str:
    """Return what a value may be, and its unit, if the row describes one."""
    if "default" not in row:
        return ""
    allowed = row["type"]
    if "choices" in row:
        allowed = " | ".join(map(show_plain, row["choices"]))
    elif "minimum" in row:
        allowed = f"{row['minimum']} to {row['maximum']}"
    unit = "" if row["unit"] == "1" else f" {row['unit']}"
    return f"; {allowed}{unit}, default {show_plain(row['default']) or 'empty'}"


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
