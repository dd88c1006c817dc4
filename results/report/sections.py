"""What stands below the charts: failures, where the numbers come from, and the data to take away."""

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import polars as pl

from results.ranked_run import RankedRun
from results.report.html import PageColumn, details, json_block, phrase, table, text, words
from results.store.columns import PAGINGS
from results.wording import counted

PARQUET_BYTES_MAX: Final = 1_500_000
"""Size of the cells up to which they come along: with the rest of the page that stays under 10 MB by far."""
PARQUET_CELLS_MAX: Final = 20_000
SPEC_CHARACTERS_MAX: Final = 200_000
FAILURES_MAX: Final = 50
TRACES_MAX: Final = 200
PUBLISHED_MAX: Final = 60
FINGERPRINT_CHARACTERS: Final = 12
"""Enough to tell versions apart; the whole is in the run's provenance.json."""


def failures_section(failures: pl.LazyFrame) -> str:
    """Return the cells that failed, by cause, or that there are none."""
    causes = (
        failures.group_by("error", "message")
        .agg(
            pl.len().alias("cells"),
            *[pl.col(name).sort_by("cell_id").first() for name in ("policy", "workload", "guest", "replicate")],
        )
        .sort("cells", "error", "message", descending=[True, False, False])
        .collect(engine="streaming")
    )
    if causes.is_empty():
        return "<p>No cell failed.</p>"
    cells = int(causes["cells"].sum())
    columns = (
        *words("error", "message"),
        PageColumn(name="cells", heading="cells"),
        PageColumn(name="workload", heading="first: workload", number=False),
        *words("guest", "policy"),
        PageColumn(name="replicate", heading="replicate"),
    )
    said = f"{counted(cells, 'cell')} failed from {counted(causes.height, 'cause')}; the figures above are without."
    return f"<p><strong>{said}</strong></p>" + table(causes, columns, "Failures by cause", most=FAILURES_MAX)


def published_table(comparison: pl.DataFrame) -> str:
    """Return predictions beside published figures, guests by size."""
    order = {name: place for place, name in enumerate(comparison["comparison"].unique(maintain_order=True))}
    rank = pl.col("comparison").replace_strict(order, return_dtype=pl.Int64)
    rows = comparison.sort(rank, "workload", "vcpus", "memory_mib", "guest").with_columns(
        _interval("predicted"),
        _interval("published"),
        inside=pl.when(pl.col("predicted").is_between("published_low", "published_high"))
        .then(pl.lit("yes"))
        .otherwise(pl.lit("no")),
    )
    columns = (
        *words("comparison", "guest", "unit"),
        PageColumn(name="predicted", heading="predicted", form="{:.2f}"),
        PageColumn(name="predicted_interval", heading="95 % interval"),
        PageColumn(name="published", heading="published", form="{:.2f}"),
        PageColumn(name="published_interval", heading="its interval"),
        *words("inside"),
    )
    sources = "".join(f"<li>{text(source)}</li>" for source in rows["source"].unique(maintain_order=True))
    shown = table(rows, columns, "Predicted and published", most=PUBLISHED_MAX)
    return f"{shown}<p class=note>Measured in:</p><ul class=note>{sources}</ul>"


def _interval(name: str) -> pl.Expr:
    """Return the bounds of a figure as one text, in the column `<name>_interval`."""
    bounds = pl.struct(low=f"{name}_low", high=f"{name}_high")
    return bounds.map_elements(_bounds, return_dtype=pl.String).alias(f"{name}_interval")


def _bounds(interval: Mapping[str, float | None]) -> str:
    low, high = interval["low"], interval["high"]
    return "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def provenance_section(ranked: RankedRun, command: str) -> str:
    """Return commands, starts, traces, prices and the specification."""
    runs = list(dict.fromkeys(str(start.get("command", "")) for start in ranked.run.provenance if start.get("command")))
    commands = "\n".join([*runs, command])
    starts = _starts(ranked.run.provenance)
    spec = text(_spec(ranked.run.spec))
    parts = [
        "<h3>Commands</h3>",
        "<p>These make the run and this page again; the same specification and code give the same numbers.</p>",
        f"<pre><code>{text(commands)}</code></pre>",
        "<h3>Starts</h3>",
        table(starts, words(*starts.columns), "Who ran it, when and with which code"),
        "<h3>Prices</h3>",
        _prices(ranked),
        "<h3>Traces</h3>",
        _traces(ranked),
        details("The specification, nothing left to a default", f"<pre><code>{spec}</code></pre>"),
    ]
    return "".join(parts)


def _starts(provenance: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    keys = ("started", "host", "backend", "cores", "python", "platform", "code_fingerprint")
    rows = pl.DataFrame({key: [str(start.get(key, "–")) for start in provenance] for key in keys})
    return rows.with_columns(pl.col("code_fingerprint").str.head(FINGERPRINT_CHARACTERS))


def _prices(ranked: RankedRun) -> str:
    model = ranked.costs
    rows = pl.DataFrame(
        [
            {"paging": paging, "counter": cost.counter, "cycles": cost.cycles, "locked": cost.locked_cycles}
            | {"range": f"{cost.low:g} to {cost.high:g}", "status": cost.status, "source": cost.source}
            for paging in PAGINGS
            for cost in model.costs(paging)
        ],
        infer_schema_length=None,
    )
    columns = (
        *words("counter", "paging"),
        PageColumn(name="cycles", heading="cycles", form="{:g}"),
        PageColumn(name="locked", heading="of them locked", form="{:g}"),
        *words("range", "status", "source"),
    )
    scale = model.native_time_scale.value
    native = "as recorded" if scale == 1 else f"those recorded, × {scale:g}"
    clock = f"Cycles are priced at {model.cpu_ghz.value:g} GHz, native times are {native}."
    head = f"<p>{phrase(f'`{model.name}`: {model.summary}. {clock}')}</p>"
    return head + details(f"All {rows.height} prices with their sources", table(rows, columns, "Prices in cycles"))


def _traces(ranked: RankedRun) -> str:
    keys = ["workload", "guest", "replicate"]
    rows = (
        ranked.run.scan("cells")
        .group_by(keys)
        .agg(pl.col("seed", "trace_digest", "events", "native_seconds").first())
        .sort(keys)
        .collect(engine="streaming")
    )
    columns = (
        *words("workload", "guest"),
        PageColumn(name="replicate", heading="replicate"),
        PageColumn(name="trace_digest", heading="digest of the trace", number=False),
        PageColumn(name="seed", heading="seed"),
        PageColumn(name="events", heading="events", form="{:,}"),
        PageColumn(name="native_seconds", heading="native, s", form="{:.2f}"),
    )
    said = f"<p>{counted(rows.height, 'trace')}, each met by every policy.</p>"
    return said + details("All traces", table(rows, columns, "Traces", most=TRACES_MAX))


def _spec(spec: Mapping[str, Any]) -> str:
    shown = json.dumps(spec, indent=1, sort_keys=True, ensure_ascii=False)
    if len(shown) <= SPEC_CHARACTERS_MAX:
        return shown
    return f"{shown[:SPEC_CHARACTERS_MAX]}\n… {len(shown) - SPEC_CHARACTERS_MAX} characters more: spec.json of the run"


def data_section(ranked: RankedRun, names: Mapping[str, str], notes: Sequence[str]) -> str:
    """Return buttons that save the data of the page; `names` maps a table of the page to what it holds."""
    run = str(ranked.run.spec["name"])
    buttons = [
        _button(name, form, f"{run}-{name}.{form}", what) for name, what in names.items() for form in ("csv", "json")
    ]
    cells = _cells(ranked)
    block = ""
    if cells is None:
        left_out = (
            "The counters of all cells are too many for this page: they are in the run's cells/*.parquet, and "
            "`sweep export RUN -o cells.csv` writes them to one file."
        )
        notes = [*notes, left_out]
    else:
        buttons.append(_button("cells-parquet", "parquet", f"{run}-cells.parquet", "every counter of every cell"))
        block = json_block("cells-parquet", base64.b64encode(cells).decode())
    remarks = "".join(f"<p class=note>{phrase(note)}</p>" for note in notes)
    return (
        "<p>Nothing is fetched: the data is in this file.</p>"
        f'<ul class="downloads">{"".join(f"<li>{button}</li>" for button in buttons)}</ul>{remarks}{block}'
    )


def _button(name: str, form: str, file: str, what: str) -> str:
    attributes = f'data-table="{text(name)}" data-form="{form}" data-file="{text(file)}"'
    return f'<button type="button" {attributes}>{form.upper()} <small>{text(what)}</small></button>'


def _cells(ranked: RankedRun) -> bytes | None:
    rows = ranked.run.scan("cells").head(PARQUET_CELLS_MAX + 1).collect(engine="streaming")
    if rows.height > PARQUET_CELLS_MAX:
        return None
    sink = io.BytesIO()
    rows.sort("workload", "guest", "replicate", "policy", "cell_id").write_parquet(sink, compression="zstd")
    return sink.getvalue() if len(sink.getvalue()) <= PARQUET_BYTES_MAX else None


def sizes(ranked: RankedRun) -> Iterator[str]:
    """Yield what the run is made of, for the line under the title."""
    cells = ranked.run.scan("cells").select(pl.len(), pl.col("replicate").n_unique()).collect(engine="streaming")
    counts = {"policy": "policies", "workload": "workloads", "guest": "guests"}
    yield counted(cells.item(0, 0), "cell")
    many = [ranked.summary[name].n_unique() for name in counts]
    words = [counted(n, single, plural) for n, (single, plural) in zip(many, counts.items(), strict=True)]
    yield " × ".join([*words, counted(cells.item(0, 1), "replicate")])
    yield f"baseline {ranked.baseline}"
    yield f"prices {ranked.costs.name}"
