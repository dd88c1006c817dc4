"""`sweep bench`: how fast this machine simulates, with a digest of the answer beside each figure."""

import json
from typing import Annotated

import typer

from sweep.exit_codes import SweepError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def bench(
    scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="Part of a full kernel build.")] = 0.03,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians are shown.")] = 3,
    recordings: Annotated[
        list[str] | None,
        typer.Option("--recording", metavar="TRACE", help="An imported recording that is measured as well."),
    ] = None,
    vcpus: Annotated[int, typer.Option(min=1, max=64, help="Virtual CPUs of the guest of recordings.")] = 2,
    compiling: Annotated[bool, typer.Option("--compile/--no-compile", help="Build the core as well.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every digit.")] = False,
) -> None:
    """Measure the engine on this machine: kernel, guest model, generator, a whole batch, a start, the compiler.

    Two versions are compared by running both in turns on one machine; figures of two days say little.
    """
    from engine.core.extension import core
    from engine.core.machine import WORDS
    from engine.guests import Guest
    from sweep.bench import engine, surroundings
    from sweep.bench.figures import as_text
    from sweep.plan.cell import engine_fingerprint

    trace, _ = engine.kernbench(scale)
    try:
        guest = Guest(vcpus=vcpus, memory_mib=engine.GUEST.memory_mib)
        traces = [trace, *(engine.recorded(path, guest) for path in recordings or ())]
    except (ValueError, OSError) as error:
        raise SweepError(f"--recording: {error}; `sweep trace info` shows what a recording needs") from error
    measured = [
        *engine.measure_kernels(traces, rounds),
        *engine.measure_trace(scale, rounds),
        *engine.measure_batch(scale, rounds),
        surroundings.measure_lru(trace, rounds),
        surroundings.measure_memory(rounds),
        surroundings.measure_start(rounds),
        *([surroundings.measure_compile()] if compiling else []),
    ]
    facts = {
        "engine": engine_fingerprint(),
        "words": " ".join(word.instruction_set for word in WORDS),
        "compiler": core.COMPILER,
        "scale": scale,
        "events": trace.count,
        "rounds": rounds,
    }
    if as_json:
        typer.echo(json.dumps({**facts, "figures": [one.content() for one in measured]}, indent=1))
        return
    title = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    typer.echo(as_text(title, measured), nl=False)
