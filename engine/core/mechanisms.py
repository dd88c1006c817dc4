"""What C is told of mechanisms: their knobs, their state, and the calls of their hooks, written when the core is built.

Two headers follow from the list in `engine/mechanisms/`: one that `lanes/state.h` includes to compose the state of the
machine, one whose functions the machine calls. Each function asks the mechanisms that fill its hook, one after the
other, in those lanes that use them. All of it is static, in one translation unit, and inlined.
"""

from collections.abc import Iterator
from typing import Final

from engine.fields import Field, fields_of
from engine.mechanisms import MECHANISMS
from engine.mechanisms.contract import HOOKS, Hook, Mechanism

_TOP: Final = "/* Written by engine/core/mechanisms.py from engine/mechanisms/ when the core is built; do not edit. */"
_BYTE_MAX: Final = 255
_PLACES: Final = ("machine", "vcpu", "page")
_ANSWERS: Final = {
    "nothing": ("lanes", "", ""),
    "any": ("lanes & ~yes", "yes |= ", "yes"),
    "all": ("lanes", "lanes &= ~asked | ", "lanes"),
}
"""What a hook answers -> in C: which lanes are left to ask, what an answer does, what is returned in the end."""


def state_header() -> str:
    """Return `mechanism_state.h`: knobs and state of each mechanism, and macros that compose them."""
    lines = [_TOP, "#pragma once", '#include "layout.h"', '#include "lanes/capacity.h"', '#include "lanes/word.h"', ""]
    lines += [
        f"enum {{ {name.upper()}_MAX = {int(knob.maximum)} }};"
        for one in MECHANISMS
        for name, knob in fields_of(one).items()
        if _is_number(knob) and knob.maximum is not None
    ]
    lines += [f'#include "mechanisms/{one.folder()}/state.h"' for one in MECHANISMS if one.state]
    for one in MECHANISMS:
        lines += ["", f"struct {one.folder()}_knobs {{", "\tlanes_t used;"]
        lines += [f"\t{member};" for name, knob in fields_of(one).items() for member in _members_of_knob(name, knob)]
        lines += ["};"]
    lines += ["", "#define STATE_OF_KNOBS \\", *_members("knobs", [one.folder() for one in MECHANISMS])]
    for place in _PLACES:
        lines += ["", f"#define STATE_OF_{place.upper()} \\"]
        lines += _members(place, [one.folder() for one in MECHANISMS if place in one.state])
    return "\n".join([*lines, ""])


def _members(place: str, names: list[str]) -> list[str]:
    """Return the lines of a macro that stands for one member of a struct for each name."""
    return [*(f"\tstruct {name}_{place} {name}; \\" for name in names), "\t/* */"]


def _is_number(knob: Field) -> bool:
    return not knob.choices and knob.type == "integer"


def _members_of_knob(name: str, knob: Field) -> list[str]:
    """Return how lanes hold a knob: a mask, a mask for each choice, or numbers and a mask of those that are not 0."""
    if not _is_number(knob):
        return [f"lanes_t {name}[{len(knob.choices)}]" if knob.choices else f"lanes_t {name}"]
    return [f"bytes_t {name}" if _is_byte(knob) else f"int64_t {name}[LANES]", f"lanes_t {name}_not_0"]


def _is_byte(knob: Field) -> bool:
    return knob.minimum is not None and knob.minimum >= 0 and knob.maximum is not None and knob.maximum <= _BYTE_MAX


def hooks_header() -> str:
    """Return `mechanism_hooks.h`: a function for each hook, and one that sets the knobs of a lane."""
    lines = [_TOP, "#pragma once", '#include "lanes/state.h"', "", "struct written;", "struct iterations;", ""]
    for one in MECHANISMS:
        lines.append(f"static bool {one.folder()}_is_used(const struct knobs *knobs);")
        lines += [f"static {_result(hook)} {one.folder()}_{hook.name}({_parameters(hook)});" for hook in _filled(one)]
    lines += ["", *_knob_setter()]
    for hook in HOOKS:
        lines += ["", f"/* {hook.meaning[0].upper()}{hook.meaning[1:]}. */", *_wanting(hook), "", *_call(hook)]
    return "\n".join([*lines, ""])


def lanes_header() -> str:
    """Return `mechanism_lanes.h`: the lane half of each mechanism."""
    halves = [f'#include "mechanisms/{one.folder()}/lanes.h"' for one in MECHANISMS]
    return "\n".join([_TOP, "#pragma once", *halves, ""])


def headers() -> dict[str, str]:
    """Return name -> text of each header."""
    return {
        "mechanism_state.h": state_header(),
        "mechanism_hooks.h": hooks_header(),
        "mechanism_lanes.h": lanes_header(),
    }


def _filled(mechanism: type[Mechanism]) -> list[Hook]:
    """Return the hooks that a mechanism fills.

    Raises:
        ValueError: it names a hook that there is not.
    """
    known = {hook.name: hook for hook in HOOKS}
    if unknown := [name for name in mechanism.hooks if name not in known]:
        where = f"engine/mechanisms/{mechanism.folder()}/__init__.py"
        raise ValueError(f"{where}: hooks: no hook '{unknown[0]}'. Allowed: {', '.join(known)} (contract.py)")
    return [known[name] for name in mechanism.hooks]


def _fillers(hook: Hook) -> list[str]:
    return [one.folder() for one in MECHANISMS if hook.name in one.hooks]


def _result(hook: Hook) -> str:
    return "void" if hook.answer == "nothing" else "lanes_t"


def _parameters(hook: Hook) -> str:
    between = f"{hook.parameters}, " if hook.parameters else ""
    return f"struct machine *m, {between}lanes_t lanes"


def _arguments(hook: Hook) -> list[str]:
    """Return the names of a hook's own parameters."""
    return [one.split()[-1].lstrip("*") for one in hook.parameters.split(", ") if one]


def _knob_setter() -> Iterator[str]:
    yield "static void set_mechanism_knobs(struct knob_lanes *lanes, const struct knobs *knobs, int lane)"
    yield "{"
    for one in MECHANISMS:
        into = f"lanes->{one.folder()}"
        yield f"\t{into}.used |= lanes_if({one.folder()}_is_used(knobs), bit(lane));"
        for name, knob in fields_of(one).items():
            if _is_number(knob):
                yield f"\t{into}.{name}[lane] = ({'uint8_t' if _is_byte(knob) else 'int64_t'})knobs->{name};"
                yield f"\t{into}.{name}_not_0 |= lanes_if(knobs->{name}, bit(lane));"
            elif knob.choices:
                yield f"\t{into}.{name}[knobs->{name}] |= bit(lane);"
            else:
                yield f"\t{into}.{name} |= lanes_if(knobs->{name}, bit(lane));"
    yield "}"


def _wanting(hook: Hook) -> Iterator[str]:
    """Yield a function that tells in which lanes any mechanism fills a hook."""
    yield f"INLINE lanes_t lanes_with_{hook.name}(const struct machine *m)"
    yield "{"
    yield "\t(void)m;"
    yield f"\treturn {' | '.join(f'm->knobs.{name}.used' for name in _fillers(hook)) or 'NO_LANES'};"
    yield "}"


def _call(hook: Hook) -> Iterator[str]:
    """Yield the function that the machine calls."""
    yield f"INLINE {_result(hook)} {hook.name}({_parameters(hook)})"
    yield "{"
    yield from _ask(hook)
    yield "}"


def _ask(hook: Hook) -> Iterator[str]:
    """Yield how the mechanisms that fill a hook are asked, each in those lanes that use it, and what is answered."""
    lanes, answer, answered = _ANSWERS[hook.answer]
    fillers = _fillers(hook)
    yield f"\tlanes_t asked{', yes = NO_LANES' if hook.answer == 'any' else ''};"
    yield ""
    for name in fillers:
        yield f"\tif (any(asked = {lanes} & m->knobs.{name}.used))"
        yield f"\t\t{answer}{name}_{hook.name}({', '.join(('m', *_arguments(hook), 'asked'))});"
    if not fillers:  # The compiler would warn of what nobody uses.
        yield from (f"\t(void){name};" for name in ("m", *_arguments(hook), "lanes"))
        yield "\t(void)sizeof asked;"
    if answered:
        yield f"\treturn {answered};"
