"""The report of `sweep validate`: shape, text, page and errors."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.events import EVENT
from engine.vocabulary import Event
from sweep.exit_codes import TraceError
from sweep.recordings.kvm.reading import KvmTruth
from sweep.validate.divergence import describe_first
from sweep.validate.page import write_html, write_markdown
from sweep.validate.reactions import SCHEMA
from sweep.validate.recording_set import RecordingSet
from sweep.validate.report import Report, text_lines
from sweep.validate.rules import RuleReport, counter_row
from sweep.validate.times import TimeReport
from sweep.validate.transfer import TransferReport


def report() -> Report:
    """Return a report of one recording and two predictions, one of them wrong."""
    kind = {"kind": "sync", "real": 4, "missed": 1, "ours": 5, "extra": 2, "recall": 0.75, "precision": 0.6}
    unmatched = {"event": 7, "row": 9, "workload": "w", "kind": "sync", "gfn": 5, "level": 1, "side": "only KVM"}
    unmatched["cause"] = "a cause"
    rules = RuleReport(
        file="nested-x.parquet",
        kinds=[kind],
        counters=[counter_row("w", "pf_fixed", predicted=99, real=100)],
        unmatched=[unmatched],
        first_divergence="event 7: only KVM did sync",
        lanes_differ=[],
    )
    where = {"file": "direct.parquet", "variant": "x", "judged": True}
    rows = [
        where | counter_row("w", "pf_fixed", predicted=110, real=100),
        where | counter_row("w", "invlpg", predicted=100, real=100),
    ]
    form = "the pages used last"
    fit = {"pages": 4, "intervals": 9, "median": 3.0, "mean_error": 1.5, "form": form, "guessed": {form: (0.5, 0.25)}}
    errors = ("median_error", "p95_error", "worst_error", "pf_fixed_p95_error", "ranked_same")
    transfer = TransferReport(
        rows=rows,
        ranked_same=1.0,
        ranked_pairs=3,
        retouches={"direct.parquet": fit},
        forms={form: dict.fromkeys(errors, 0.125)},
    )
    figure = {"what": "live L1 mov 8", "recorded": 100, "modelled": 90, "close": False, "why": "a reason"}
    census = {"direct.parquet": {"programs": {"cow": [figure]}, "skipped": ["tcc"]}}
    time = {"variant": "x", "workload": "w", "guest": 400, "measured": 1000, "predicted": 950.0}
    time |= {"error_of_total": 0.05, "error_of_kvm": 50 / 600}
    times = TimeReport(rows=[time], pairs=4, signs_right=3, size_error=0.125)
    return Report(rules=[rules], transfer=transfer, times=times, guest_model=census)


def test_json_has_the_documented_shape() -> None:
    """Programs find recall, precision and counters per file, and errors as fractions."""
    found = json.loads(json.dumps(report().to_json()))

    rules = found["rules"]["nested-x.parquet"]
    assert (rules["recall"], rules["precision"]) == (0.75, 0.6)
    assert rules["counters"]["pf_fixed"]["error"] == pytest.approx(0.01)
    assert found["transfer"]["median_error"] == pytest.approx(0.05)
    assert found["transfer"]["per_counter"]["pf_fixed"]["worst_error"] == pytest.approx(0.1)
    assert found["transfer"]["ranked_same"] == 1.0
    assert len(found["transfer"]["rows"]) == 2
    assert found["guest_model"]["direct.parquet"]["programs"]["cow"][0]["modelled"] == 90


def test_text_names_what_is_wrong() -> None:
    """The terminal shows missed and extra reactions and the first divergence."""
    text = "\n".join(text_lines(report()))

    assert "recall 75.0000%" in text
    assert "first divergence: event 7: only KVM did sync" in text
    assert "cow: 0 of 1 figures as recorded" in text
    assert "no list of operations for tcc" in text
    assert "100.0% of 3 policy pairs in the real order" in text


def test_pages_hold_figures_and_pictures(tmp_path: Path) -> None:
    """The page of the documents and the HTML page carry tables and both plots."""
    write_markdown(report(), tmp_path / "validation.md")
    write_html(report(), tmp_path / "validation.html")

    page = (tmp_path / "validation.md").read_text(encoding="utf-8")
    assert "| x | w | pf_fixed | 110 | 100 | 10.0% |" in page
    assert "| 7 | 9 | w | sync | 0x5 | 1 | only KVM | a cause |" in page
    assert "| the pages used last | 50% | 25% |" in page
    assert "| x | w | 1,000 | 950 | 5.0% |" in page
    assert "**75.0%** are in the right order" in page
    assert "| live L1 mov 8 | 100 | 90 | -10 | a reason |" in page
    assert (tmp_path / "validation-predicted.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "validation.html").read_text(encoding="utf-8").count("<svg") == 2


def test_first_divergence_shows_both_sides() -> None:
    """A divergence says what each side did to the page before, and the events that led there."""
    events = np.zeros(3, dtype=EVENT)
    events["kind"] = int(Event.INVLPG)
    truth = KvmTruth(events=events, row=np.arange(3), kvm=pl.DataFrame(), markers={})
    unsynced = (1, "unsync", 5, 1, 0x701)
    real = pl.DataFrame([unsynced, (2, "sync", 5, 1, 0x701)], schema=SCHEMA, orient="row")
    ours = pl.DataFrame([unsynced], schema=SCHEMA, orient="row")

    text = describe_first(
        truth,
        real.with_columns(paired=pl.Series([True, False])),
        ours.with_columns(paired=pl.Series([True])),
    )

    assert text is not None
    assert "only KVM did sync gfn 0x5 level 1 role 0x701" in text
    assert "KVM and gfn 0x5 so far: level 1 role 0x701 in sync" in text
    assert "the engine and gfn 0x5 so far: level 1 role 0x701 out of sync" in text
    assert text.count("INVLPG") == 3


def test_agreement_has_no_divergence() -> None:
    """If every reaction has its partner there is nothing to describe."""
    truth = KvmTruth(events=np.zeros(1, dtype=EVENT), row=np.arange(1), kvm=pl.DataFrame(), markers={})
    none = pl.DataFrame([], schema=SCHEMA | {"paired": pl.Boolean})

    assert describe_first(truth, none, none) is None


def test_another_directory_is_told_what_it_lacks(tmp_path: Path) -> None:
    """A directory of another layout is an error that names what is missing."""
    with pytest.raises(TraceError, match=r"no .*counters.csv.*variants.csv"):
        RecordingSet(tmp_path).check()
