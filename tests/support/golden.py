"""Reduces a report to what the golden file keeps, and writes that file."""

import json
from typing import Any, Final

from sweep.validate.recording_set import RecordingSet
from sweep.validate.report import validate
from tests.support.project import DATA

RECORDINGS: Final = DATA / "kvm-truth"
GOLDEN: Final = RECORDINGS / "golden.json"


def golden_report() -> dict[str, Any]:
    """Run the checks on the trimmed recordings and keep every count, but no list of rows."""
    report = validate(RecordingSet(RECORDINGS), workers=2, say=lambda _: None).to_json()
    kept = {
        file: {name: rules[name] for name in ("kinds", "counters", "first_divergence", "lanes_differ")}
        for file, rules in report["rules"].items()
    }
    rows = report["transfer"]["rows"]
    predicted = {f"{row['variant']} {row['workload']} {row['counter']}": row["predicted"] for row in rows}
    real = {f"{row['variant']} {row['workload']} {row['counter']}": row["real"] for row in rows}
    return {
        "rules": kept,
        "transfer": {"predicted": predicted, "real": real},
        "guest_model": {file: census["programs"] for file, census in report["guest_model"].items()},
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_report(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
