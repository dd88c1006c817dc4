"""Checks a value of a specification against the field that declares it; a wrong one is noted with its place."""

from typing import Any

from engine.fields import Field, FieldError
from sweep.spec.nodes import Spot
from sweep.spec.problems import Problem, near_words


def check_value(spot: Spot, what: str, *, field: Field, problems: list[Problem]) -> Any:
    """Return the value of `spot`, or note why it is not allowed and return the default."""
    if spot.shape != "scalar":
        text = f"{what}: expected {field.expected}, found a {spot.shape}"
        problems.append(Problem(place=spot.place, message=text))
        return field.default
    try:
        return field.check(spot.value)
    except FieldError as error:
        notes = near_words(str(spot.value), [str(choice) for choice in field.choices])
        problems.append(Problem(place=spot.place, message=f"{what}: {error}", notes=notes))
        return field.default
