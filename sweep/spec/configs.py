"""Finds and reads the YAML files that a specification names: policies, guests and cost models."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from engine.fields import show
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
    """Return the name or the absolute path of the cost model, or note that there is none."""
    if spot is None:
        return DEFAULT_COSTS
    path = find_config(spot, "costs", folder=folder, problems=problems)
    if path is None or path.parent == CONFIGS / "costs":
        return str(spot.value)
    return str(path.resolve())


def read_costs(name: str) -> Spot:
    """Return the nodes of a cost model's file.

    Raises:
        SpecError: there is no such file, or it is no mapping.
    """
    problems = Problems()
    whole = Place(source=Source(name="--costs", text=name, is_argument=True), line=0, column=0, width=len(name))
    path = find_config(Spot(value=name, place=whole), "costs", folder=Path(), problems=problems)
    if path is None:
        raise SpecError(problems)
    root, problems = read_nodes(read_source(path))
    if root.shape != "mapping":
        problems.note(root.place, "a cost model is a mapping")
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
