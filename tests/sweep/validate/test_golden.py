"""The engine against trimmed recordings of a real KVM: a rule that changes must say so here."""

import json
from typing import Any

import pytest

from sweep.validate.rules import RULE_COUNTERS
from sweep.validate.transfer import TRANSFER_COUNTERS
from tests.support.golden import GOLDEN, golden_report

pytestmark = pytest.mark.slow
SHARE_MIN = 0.99
ERROR_MAX = 0.01
COUNTS_MAX = 2
TRANSFER_ERROR_MAX = 0.15
REMEDY = """A count moved against the recordings of a real KVM. If that was not meant, a rule is broken. If it was:
1. python -m tests.support.golden                 writes the golden file anew
2. git diff tests/data/kvm-truth/golden.json       shows what moved: nearer to the recording, or away from it?
3. CHANGELOG.md                                    say there which rule changed, why, and by how much the counts moved
"""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """Return what the checks say now."""
    return golden_report()


def test_golden_counts_are_unchanged(report: dict[str, Any]) -> None:
    """No rule has changed without the golden file (and CHANGELOG.md) saying so."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))

    assert golden == json.loads(json.dumps(report)), REMEDY


def test_every_kind_of_reaction_is_reproduced(report: dict[str, Any]) -> None:
    """Of every kind of reaction at least 99 % are found and at least 99 % are right."""
    poor = [
        (file, kind, figures)
        for file, rules in report["rules"].items()
        for kind, figures in rules["kinds"].items()
        if min(figures["recall"], figures["precision"]) < SHARE_MIN
    ]

    assert len(report["rules"]) == 2
    assert poor == []


def test_counters_are_those_of_the_machine(report: dict[str, Any]) -> None:
    """Every counter of a recorded run is within 1 % or 2 counts."""
    wrong = [
        (file, name, counter)
        for file, rules in report["rules"].items()
        for name, counter in rules["counters"].items()
        if abs(counter["predicted"] - counter["real"]) > max(COUNTS_MAX, ERROR_MAX * counter["real"])
    ]

    assert set(RULE_COUNTERS) <= set(report["rules"]["nested-default.parquet"]["counters"])
    assert wrong == []


def test_lanes_equal_the_reference(report: dict[str, Any]) -> None:
    """On recordings of a real guest both engines have the same counters."""
    assert [rules["lanes_differ"] for rules in report["rules"].values()] == [[], []]


def test_predictions_transfer_to_other_runs(report: dict[str, Any]) -> None:
    """From a recording without hypervisor, counters of KVM runs elsewhere are predicted within 15 %."""
    predicted, real = report["transfer"]["predicted"], report["transfer"]["real"]
    judged = [key for key in real if key.split()[-1] in TRANSFER_COUNTERS and real[key] >= 50]
    wrong = [(key, predicted[key], real[key]) for key in judged]
    wrong = [row for row in wrong if abs(row[1] - row[2]) > TRANSFER_ERROR_MAX * row[2]]

    assert len(judged) >= 12
    assert wrong == []
