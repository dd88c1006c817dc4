"""The check of time: KVM's instructions for whole workloads, measured and predicted from counters and prices."""

import pytest

from sweep.validate.recording_set import RecordingSet
from sweep.validate.report import Report, text_lines
from sweep.validate.times import TimeReport, _differences, check_times, kvm_instructions
from tests.support.project import DATA

RECORDINGS = RecordingSet(DATA / "kvm-truth")
TOTAL_ERROR_MAX = 0.05


@pytest.fixture(scope="module")
def times() -> TimeReport:
    """Return what the check says of the trimmed recordings."""
    found = check_times(RECORDINGS)
    assert found is not None
    return found


def test_kvm_takes_what_is_left_without_the_guest() -> None:
    """KVM's part is the measured total less the guest's own instructions between its markers."""
    table = kvm_instructions(RECORDINGS)

    assert sorted(table["variant"]) == ["default", "era2008"]
    assert table.select((table["total"] - table["guest"] == table["kvm"]).all()).item()
    assert (table["kvm"] > 1000 * table["exits"]).all()


def test_totals_are_predicted(times: TimeReport) -> None:
    """Measured paths times predicted counts come within 5 % of what a real KVM took for 50 forks, for both policies."""
    assert len(times.rows) == 2
    assert max(row["error_of_total"] for row in times.rows) < TOTAL_ERROR_MAX


def test_policies_are_in_the_real_order(times: TimeReport) -> None:
    """The policy that took longer is predicted to take longer, and by about as much."""
    assert (times.pairs, times.signs_right) == (1, 1)
    assert times.size_error < 0.15


def test_a_pair_that_differs_by_little_is_no_pair() -> None:
    """Of three policies with 100.0, 100.5 and 200 only the two pairs with the third have an order."""
    import polars as pl

    found = pl.DataFrame({"workload": ["w"] * 3, "measured": [1000, 1005, 2000], "predicted": [1000, 1100, 1500]})

    pairs, signs, sizes = _differences(found)

    assert (pairs, signs) == (2, 2)
    assert sorted(sizes) == pytest.approx([0.5, 1 - 400 / 995])


def test_the_report_says_it(times: TimeReport) -> None:
    """The terminal has errors of totals, order and size; programs have every row."""
    report = Report(times=times)
    text = "\n".join(text_lines(report))

    assert "Time, prices of kvm-6.1-paths" in text
    assert "100.0% of 1 pairs in the real order" in text
    assert len(report.to_json()["times"]["rows"]) == 2
