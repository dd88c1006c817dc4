"""Finds and reads the YAML files that a specification names: policies, guests and cost models."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.fields import show
from sweep.spec.cost_nodes import (
    BASE,
    Change,
    changes_of_mapping,
    changes_of_text,
    joined_name,
    lay_over,
    put_on_base,
    split_name,
)
from sweep.spec.nodes import Spot, read_nodes, read_source
from sweep.spec.problems import Place, Problems, Source, SpecError, suggest

CONFIGS: Final = Path(__file__).resolve().parent.parent.parent / "configs"
DEFAULT_COSTS: Final = "nehalem-2011"


def config_names(kind: str) -> list[str]:
    """Return the names of the files in configs/`kind`."""
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))


def find_config(spot: Spot, kind: str, *, folder: Path, problems: Problems) -> Path | None:
    """Return the file that a name in configs/`kind` or a path stands for, or note that there is none."""
    known = config_names(kind)
    if isinstance(spot.value, str):
        if spot.value in known:
            return CONFIGS / kind / f"{spot.value}.yaml"
        if spot.value.endswith((".yaml", ".yml")) and (folder / spot.value).is_file():
            return folder / spot.value
    notes = (*suggest(str(spot.value), known), f"names are files in configs/{kind}; a path ends in .yaml")
    problems.note(spot.place, f"{kind}: no file for {show(spot.value)}", *notes)
    return None


def check_costs(spot: Spot | None, *, folder: Path, problems: Problems) -> str:
    """Return the name or the absolute path of the cost model, with what is laid over it, or note what is wrong.

    What a sweep lays over a model stands behind its name, as in `nehalem-2011,cpu_ghz=3.2`: a run, a table and a page
    that name their prices say so.
    """
    if spot is None:
        return DEFAULT_COSTS
    if spot.shape != "mapping":
        name, texts = split_name(str(spot.value))
        base = replace(spot, value=name) if texts else spot
        changes = changes_of_text(texts, problems)
    else:
        under = spot.entries.get(BASE)
        base = Spot(value=DEFAULT_COSTS, place=spot.place) if under is None else under.spot
        changes = list(changes_of_mapping(spot))
    path = find_config(base, "costs", folder=folder, problems=problems)
    if path is None:
        return str(base.value)
    name = str(base.value) if path.parent == CONFIGS / "costs" else str(path.resolve())
    if changes:
        _check_changes(path, changes, problems)
    return joined_name(name, changes)


def _check_changes(path: Path, changes: list[Change], problems: Problems) -> None:
    """Note what is wrong with numbers that are laid over a model."""
    from results.prices.cost_model import CostModelError, cost_model_from_mapping

    before = len(problems)
    root = lay_over(_read_model(path), changes, problems)
    if len(problems) > before:
        return
    try:
        cost_model_from_mapping(root.value)
    except CostModelError as error:
        problems += cost_problems(root, error.problems).problems


def read_costs(name: str) -> Spot:
    """Return the nodes of a cost model, nothing left to its base; `NAME,PATH=NUMBER` lays numbers over it.

    Raises:
        SpecError: there is no such file, it is no mapping, or a number is none of a model.
    """
    problems = Problems()
    first, texts = split_name(name)
    whole = Place(source=Source(name="--costs", text=name, is_argument=True), line=0, column=0, width=len(name))
    path = find_config(Spot(value=first, place=whole), "costs", folder=Path(), problems=problems)
    changes = changes_of_text(texts, problems)
    if path is None:
        raise SpecError(problems)
    root = lay_over(_read_model(path), changes, problems)
    if problems:
        raise SpecError(problems)
    return root


def _read_model(path: Path, above: tuple[Path, ...] = ()) -> Spot:
    """Return the nodes of a cost model's file, put on those of its base."""
    root, problems = read_nodes(read_source(path))
    if root.shape != "mapping":
        problems.note(root.place, "a cost model is a mapping")
    base = root.entries.get(BASE)
    if not problems and base is not None:
        under = find_config(base.spot, "costs", folder=path.parent, problems=problems)
        if under is not None and under.resolve() in {one.resolve() for one in (*above, path)}:
            problems.note(base.spot.place, f"base: {base.spot.value} builds on this model itself")
        if not problems and under is not None:
            return put_on_base(root, _read_model(under, (*above, path)))
    if problems:
        raise SpecError(problems)
    return root


def cost_problems(root: Spot, problems: Iterable[tuple[tuple[str, ...], str]]) -> SpecError:
    """Return the error that shows what is wrong with a cost model at the lines where it is."""
    found = Problems()
    for path, text in problems:
        spot, place = root, root.place
        for word in path:
            entry = spot.entries.get(word)
            if entry is None:
                break
            spot, place = entry.spot, entry.key
        found.note(place, f"{'.'.join(path) or 'cost model'}: {text}")
    return SpecError(found)
