"""What a mechanism is: what it declares, and the places of the machine at which it is called.

A mechanism is a rule that a policy has or has not. Its folder holds all of it:

* `__init__.py`: a class derived from `Mechanism` with its knobs, its counters and the names of the hooks that it fills.
* `plain.py`: a class `Plain`, derived from `PlainMechanism` of `engine/reference/`: the rule for one policy.
* `lanes.h`: a function `<folder>_<hook>` for each hook and `<folder>_is_used`: the rule for 64 or 512 policies at once.
* `state.h`, if it keeps anything: `struct <folder>_machine`, `_vcpu` and `_page`, as far as `state` names them.

The halves share nothing but names. `engine/core/mechanisms.py` writes the calls of `lanes.h`; they are inlined, and a
mechanism that no lane of a batch uses costs one test of a mask.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from engine.fields import Counter


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Declares a mechanism; the fields of a derived class are its knobs.

    Their defaults are KVM of Linux 6.1, which has not what other hypervisors have. `<folder>_is_used` in `lanes.h` says
    which lanes have the mechanism.
    """

    counters: ClassVar[tuple[Counter, ...]] = ()
    """What it counts."""
    hooks: ClassVar[tuple[str, ...]] = ()
    """Names of HOOKS that both halves fill, and of those for lanes only that `lanes.h` fills."""
    state: ClassVar[tuple[Literal["machine", "vcpu", "page"], ...]] = ()
    """What `state.h` adds to the lanes' machine, to each vCPU, and to each shadow page."""

    @classmethod
    def folder(cls) -> str:
        """Name of the mechanism: that of its folder, and of its members in C."""
        return cls.__module__.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A place of the machine at which mechanisms are called, in the order of their list.

    `parameters` are those of the C function between `struct machine *m` and `lanes_t lanes`. `answer` says what becomes
    of what several mechanisms answer: nothing; the lanes in which `any` says yes, where the next is asked in the rest;
    or those in which `all` do.
    """

    name: str
    meaning: str
    parameters: str = ""
    answer: Literal["nothing", "any", "all"] = "nothing"
    lanes_only: bool = False
    """What a fast path of the lanes must know beforehand; the reference has no such path."""


_VCPU: Final = "struct vcpu *vcpu"
_SLOT: Final = "int32_t slot"

HOOKS: Final = (
    Hook(name="on_lookup", meaning="a shadow page is looked up or made, to be linked or loaded", parameters=_SLOT),
    Hook(name="on_walk", meaning="a fault walks through a shadow page, of any level", parameters=_SLOT),
    Hook(name="on_root", meaning="a vCPU takes a cached root as its current one", parameters=_SLOT),
    Hook(name="on_cr3", meaning="the guest loads CR3; the present root is still the current one", parameters=_VCPU),
    Hook(name="on_fault", meaning="a fault was served without emulation, or injected", parameters=_VCPU),
    Hook(
        name="on_prefetch",
        meaning="a leaf was installed speculatively",
        parameters=f"{_VCPU}, int32_t spte, int64_t gfn",
    ),
    Hook(
        name="on_trap",
        meaning="a store trapped and was decoded. Yes: zap the shadow pages of its gfn and let the guest try again",
        parameters=f"{_VCPU}, uint64_t gva, int instruction",
        answer="any",
    ),
    Hook(
        name="may_retry",
        meaning="whether on_trap may say yes to this instruction anywhere; changes nothing",
        parameters="int instruction",
        answer="any",
        lanes_only=True,
    ),
    Hook(
        name="on_write",
        meaning="a trapped store of the guest is emulated; `times` > 1: so many in a row, of which no page is watched",
        parameters=f"{_VCPU}, const struct written *written, int64_t times",
    ),
    Hook(
        name="gives_up",
        meaning="what to do with a shadow page of a stored table. Yes: zap it. No: update the entry",
        parameters=f"{_SLOT}, const struct written *written",
        answer="any",
    ),
    Hook(
        name="watches",
        meaning="whether the next iterations of a rep store might be given up, or count one by one; changes nothing",
        parameters="const struct iterations *next",
        answer="any",
        lanes_only=True,
    ),
    Hook(
        name="may_unsync",
        meaning="whether a level-1 page may go out of sync, so that its gfn becomes writable; changes nothing",
        parameters=f"{_SLOT}, bool speculative",
        answer="all",
    ),
    Hook(name="on_unsync", meaning="a page goes out of sync by a fault of a vCPU", parameters=f"{_VCPU}, {_SLOT}"),
    Hook(name="on_sync", meaning="an out-of-sync page is brought back and protected again", parameters=_SLOT),
    Hook(name="on_zap", meaning="a shadow page is zapped; it may be out of sync still", parameters=_SLOT),
    Hook(name="on_root_freed", meaning="the last vCPU lets go of a root that was zapped before"),
    Hook(name="on_exit_end", meaning="an exit is served; flushes are pending, and the guest has not run yet"),
)
"""Every hook."""
