"""Properties of the guest model that hold for any operations, found by Hypothesis."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import x86
from engine.core.guest.model import GuestModel
from engine.guest import constants as c
from engine.vocabulary import Event, Operation
from tests.support.guest.frames import free_frames
from tests.support.guest.scripts import FILE, FORK, PAGE, VFORK, Script, new_model, play, small_guest
from tests.support.guest.walker import Walker

PIDS = (10, 11, 12, 13)
PLACES = (0x400000, 0x5FF000, 0x10000000, 0x7F0000000000, 0x7FFFFFFFD000, 0x7FFFFFFF8000)
SMALL = {"low_frames": 32, "fault_around_pages": 4, "kernel_image_touches": 2, "kernel_data_touches": 4}
EXAMPLES = 60

STEP = st.tuples(
    st.sampled_from(
        (
            "fault",
            "write",
            "map",
            "unmap",
            "protect",
            "brk",
            "remap",
            "advise",
            "fork",
            "vfork",
            "exec",
            "exit",
            "in",
            "out",
        ),
    ),
    st.sampled_from(PIDS),
    st.sampled_from(PIDS),
    st.sampled_from(PLACES),
    st.integers(0, 40),
    st.integers(0, 1),
)


def add_step(script: Script, step: tuple[str, int, int, int, int, int]) -> None:
    """Append what a drawn step means."""
    name, pid, peer, place, pages, vcpu = step
    address, length = place + pages * PAGE, (pages + 1) * PAGE
    kinds = {
        "map": (Operation.MAP, 3 | (FILE if pages & 1 else 0)),
        "unmap": (Operation.UNMAP, 0),
        "protect": (Operation.PROTECT, pages & 7),
        "brk": (Operation.BRK, 0),
        "remap": (Operation.REMAP, 0),
        "advise": (Operation.ADVISE, 4),
        "exec": (Operation.EXEC, 0),
        "exit": (Operation.EXIT, 0),
        "in": (Operation.SWITCH_IN, 0),
        "out": (Operation.SWITCH_OUT, 1),
    }
    if name in {"fault", "write"}:
        flags = 6 if name == "write" else (4, 0x14, 7, 2)[pages & 3]
        script.add(Operation.FAULT, pid, address, flags=flags, vcpu=vcpu)
    elif name in {"fork", "vfork"}:
        if pid != peer:
            script.add(Operation.CLONE, pid, peer=peer, flags=FORK if name == "fork" else VFORK, vcpu=vcpu)
    else:
        kind, flags = kinds[name]
        script.add(kind, pid, address, length, flags=flags, vcpu=vcpu, after_ns=100_000)


def tables_of(model: GuestModel, root: int) -> list[int]:
    """List the tables below the user half of a root, and the root."""
    state, found, level_pages = model.state, [root], [root]
    for level in (4, 3, 2):
        below: list[int] = []
        for page in level_pages:
            row = state.entries[int(state.frames["contents"][page]) - 1][: 256 if level == 4 else 512]
            below += [x86.FOUR_LEVEL.frame_of(int(entry)) for entry in row if int(entry) & 1]
        found += below
        level_pages = below
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_events_replay_on_a_plain_walker(steps: list[tuple[str, int, int, int, int, int]]) -> None:
    """Each touch translates in the tables that the stores have built, and no guest fault does."""
    script = Script()
    for step in steps:
        add_step(script, step)
    model = new_model(small_guest(vcpus=2, memory_mib=80), SMALL)

    events = play(model, script)

    Walker().replay(events)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_live_stores_hit_tables_that_a_loaded_root_leads_to(
    steps: list[tuple[str, int, int, int, int, int]],
) -> None:
    """A store is marked LIVE only if its page is linked below a root that was loaded."""
    script = Script()
    script.write(10, 0x400000)
    for step in steps:
        add_step(script, step)
    walker = Walker()

    walker.replay(play(new_model(small_guest(vcpus=2, memory_mib=80), SMALL), script), check_live=True)

    assert walker.live_stores > 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_no_frame_is_used_twice(steps: list[tuple[str, int, int, int, int, int]]) -> None:
    """A frame is free once, or a table of one root, or data; free and used frames together are all."""
    script = Script()
    for step in steps:
        add_step(script, step)
    model = new_model(small_guest(vcpus=2, memory_mib=80), SMALL)
    play(model, script)

    free = free_frames(model)
    state = model.state
    live = {int(mm) for mm in state.processes["mm"][state.processes["pid"] != c.NONE]} - {c.NONE}
    tables = [gfn for mm in live for gfn in tables_of(model, int(state.mms["root"][mm]))]
    assert len(free) == len(set(free)) == int(state.globals["free_frames"][0])
    assert all(int(state.frames["kind"][gfn]) == c.NOT_HANDED_OUT for gfn in free)
    assert len(tables) == len(set(tables))
    assert all(int(state.frames["kind"][gfn]) == c.TABLE for gfn in tables)
    assert sum(int(state.mms["tables"][mm]) for mm in live) == len(tables)


@settings(max_examples=EXAMPLES, deadline=None)
@example([("fault", 10, 10, 0x400000, 0, 0), ("exit", 10, 10, 0x400000, 0, 0), ("fault", 10, 10, 0x400000, 0, 1)])
@given(st.lists(STEP, max_size=60))
def test_all_frames_return_after_all_exits(steps: list[tuple[str, int, int, int, int, int]]) -> None:
    """Once every process is gone, only written file pages are missing from the free lists."""
    script = Script()
    for step in steps:
        add_step(script, step)
    for pid in PIDS:
        script.add(Operation.SWITCH_IN, pid)
        script.add(Operation.EXIT, pid)
    for vcpu in (0, 1):
        script.add(Operation.SWITCH_IN, 999, vcpu=vcpu)
    model = new_model(small_guest(vcpus=2, memory_mib=80), SMALL)
    starts = [chunk.copy() for chunk in model.start()]
    before = int(model.state.globals["free_frames"][0])

    play(model, script, start=False)

    assert len(starts) == 1
    world = model.state.globals
    assert before == int(world["free_frames"][0]) + int(world["fills"][0])


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(st.lists(STEP, max_size=40), st.integers(0, 3))
def test_same_inputs_give_the_same_events(
    steps: list[tuple[str, int, int, int, int, int]],
    seed: int,
) -> None:
    """Operations, guest and seed fix every byte; chunking of the operations does not matter."""
    script = Script()
    for step in steps:
        add_step(script, step)
    guest = small_guest(vcpus=2, memory_mib=80)

    whole = play(new_model(guest, SMALL, seed=seed), script)
    again = play(new_model(guest, SMALL, seed=seed), script)

    assert whole.tobytes() == again.tobytes()


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_run_time_and_windows_add_up(steps: list[tuple[str, int, int, int, int, int]]) -> None:
    """RUN events sum to the busy time; windows come once each, in order."""
    script = Script()
    for step in steps:
        add_step(script, step)
        script.now += 3_000_000
    model = new_model(small_guest(vcpus=2, memory_mib=80), SMALL)

    events = play(model, script)

    run = events["value"][events["kind"] == Event.RUN]
    windows = events["value"][events["kind"] == Event.WINDOW].tolist()
    assert round(model.busy_seconds * 1e9) == int(run.sum())
    assert list(range(1, len(windows) + 1)) == windows
    assert len(windows) == (script.operations()["time_ns"].max() // 10_000_000 if script.rows else 0)
