"""The parts of docs/explanation/validation.md about the guest: pages used again, and the census of known programs."""

from collections.abc import Iterator
from typing import Any

from sweep.validate.guest_census import CLOSE, COUNTS_MAX


def retouch_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is assumed about pages that processes use again, how good the guess is, and what it changes."""
    yield "## Pages used again\n"
    yield (
        "A recording without hypervisor shows the first access of a page after it was re-armed, and no later one. If a "
        "policy zaps a shadow page meanwhile, the process's next accesses fault in reality, and the recording is "
        "silent. We add accesses after each page fault of the guest. Their number, and which of two forms of *used "
        "last* names the pages better, are taken from the same recording, where it can see them: between a CR3 load, "
        "which re-arms everything, and the next page fault.\n"
    )
    for file, fit in found["retouches"].items():
        yield (
            f"{file}: **{fit['pages']} pages**, the mean of {fit['intervals']} intervals (median {fit['median']:.1f}, "
            f"mean absolute error {fit['mean_error']:.1f} pages), in the form *{fit['form']}*. How well each form "
            "names the pages of an interval:\n"
        )
        yield "| form | of the guessed pages, used | of the used pages, guessed |"
        yield "|---|--:|--:|"
        for form, (precision, recall) in fit["guessed"].items():
            yield f"| {form} | {precision:.0%} | {recall:.0%} |"
        yield ""
    yield (
        "That is a poor guess. How much hangs on it: the same comparison with no such accesses, and with each form.\n"
    )
    yield "| form | median | p95 | worst | p95 of pf_fixed | policy pairs in order |"
    yield "|---|--:|--:|--:|--:|--:|"
    for form, row in found["forms"].items():
        errors = (row[key] for key in ("median_error", "p95_error", "worst_error", "pf_fixed_p95_error", "ranked_same"))
        yield f"| {form} | " + " | ".join(f"{error:.2%}" for error in errors) + " |"
    yield (
        "\nThe second form was thought of after the first had been compared with these very counters, so this table "
        "is no independent evidence for it; the recording's own preference is, and it is slight. The headline hardly "
        "depends on it. Recordings that nobody has looked at yet are the test.\n"
    )


def guest_lines(file: str, census: dict[str, Any]) -> Iterator[str]:
    """Yield the census of the known programs of a recording."""
    rows = [row for rows in census["programs"].values() for row in rows]
    live = [row for row in rows if row["what"].startswith("live")]
    yield f"## The guest model: {file}\n"
    yield (
        "The programs of the recording, written as process operations and run on the guest model, against what the "
        "recorded guest stored. A class of stores is level, instruction and width in bytes; a `rep` counts once; "
        "*dead* are stores to pages that are no table any more, up to the clear for their next use. *Rest* is the time "
        "in guest page faults, from the death of a table to that clear. Reasons are given where the difference exceeds "
        f"{CLOSE:.0%} and {COUNTS_MAX} counts.\n"
    )
    yield (
        f"Stores to live tables: **{sum(row['close'] for row in live)} of {len(live)}** classes agree; of all figures "
        f"{sum(row['close'] for row in rows)} of {len(rows)}.\n"
    )
    if census["skipped"]:
        yield f"Not compared, for want of a list of their operations: {', '.join(census['skipped'])}.\n"
    for name, figures in census["programs"].items():
        yield f"### {name}\n"
        yield "| figure | recorded | modelled | difference | why |"
        yield "|---|--:|--:|--:|---|"
        for row in figures:
            gap = row["modelled"] - row["recorded"]
            counts = f"{row['recorded']:,.0f} | {row['modelled']:,.0f} | {gap:+,.0f}"
            yield f"| {row['what']} | {counts} | {row['why']} |"
        yield ""
