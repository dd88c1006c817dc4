"""Two specifications as one: what can be joined is, and what only the user can decide is asked."""

from typing import Any, Final

import pytest

from results.store.storage import StoreError
from results.upkeep.spec_union import union_of_specs

SETTINGS: Final[dict[str, Any]] = {"seed": 1, "baseline": "x", "costs": "c", "until": None}


def spec(**changes: Any) -> dict[str, Any]:
    """Return a small specification."""
    return SETTINGS | {"name": "n", "replicates": 3} | changes


def policy(name: str, **knobs: Any) -> dict[str, Any]:
    """Return a policy as a specification lists it."""
    return {"name": name, "knobs": knobs, "summary": f"what {name} does"}


def union(first: dict[str, Any], second: dict[str, Any], prefer: str | None = None) -> dict[str, Any]:
    """Return the union of two, which must be the same in either order."""
    found = union_of_specs({"runs/a": first, "runs/b": second}, "runs/ab", prefer)
    assert found == union_of_specs({"runs/b": second, "runs/a": first}, "runs/ab", prefer)
    return found


def test_lists_are_joined() -> None:
    """Entries of both lists are there once, the larger number of replicates counts, the name is that of the target."""
    first = spec(name="b", policies=[policy("x"), policy("y")], guests=[{"vcpus": 1}], replicates=5)
    second = spec(name="a", policies=[policy("z"), policy("x")], guests=[{"vcpus": 2}, {"vcpus": 1}])

    assert union(first, second) == spec(
        name="ab", policies=[policy("x"), policy("y"), policy("z")], guests=[{"vcpus": 1}, {"vcpus": 2}], replicates=5
    )


def test_equal_lists_keep_their_order() -> None:
    """What is the same in both stays as it is."""
    same = spec(policies=[policy("z"), policy("x")])

    assert union(same, same) == same


def test_other_words_about_a_policy_are_no_other_policy() -> None:
    """A policy whose knobs agree is there once, whatever its summary says."""
    first = spec(policies=[policy("x", threshold=3)])
    second = spec(policies=[policy("x", threshold=3) | {"summary": "reworded"}])

    assert len(union(first, second)["policies"]) == 1


@pytest.mark.parametrize(
    ("key", "first", "second", "words"),
    [
        (
            "policies",
            policy("x", threshold=3),
            policy("x", threshold=10),
            r"'x' is not the same.*threshold (3|10) and ",
        ),
        ("policies", policy("x"), policy("x", threshold=10), r"'x' is not the same.*threshold"),
        (
            "workloads",
            {"label": "w", "name": "fork", "parameters": {"n": 1}},
            {"label": "w", "name": "fork", "parameters": {"n": 2}},
            r"workloads: 'w' is not the same in runs/a and runs/b: n 1 and 2\. Give it another name",
        ),
    ],
)
def test_a_name_with_two_meanings_is_refused(key: str, first: Any, second: Any, words: str) -> None:
    """A preference does not help where one name would stand for two things; another name does."""
    with pytest.raises(StoreError, match=words):
        union_of_specs({"runs/a": spec(**{key: [first]}), "runs/b": spec(**{key: [second]})}, "c", "runs/a")


@pytest.mark.parametrize("key", SETTINGS)
def test_settings_are_preferred_or_refused(key: str) -> None:
    """Any other setting that differs is named with both values, or taken from the preferred run."""
    first, second = spec(**{key: "here"}), spec(**{key: "there"})

    with pytest.raises(
        StoreError, match=rf'differ in {key}\..*--prefer runs/a or --prefer runs/b\n  {key}: "here" in runs/a'
    ):
        union_of_specs({"runs/a": first, "runs/b": second}, "runs/ab")

    assert union(first, second, "runs/b")[key] == "there"


def test_a_setting_that_one_lacks_is_the_others() -> None:
    """A specification of an older program has fewer settings; it does not decide about the others."""
    older = {key: value for key, value in spec().items() if key != "until"}

    assert union(older, spec()) == spec()
