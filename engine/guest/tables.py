"""Walk, build and write the guest's page tables; every write is an event."""

from engine.guest import constants as c
from engine.guest.allocator import allocate_frame
from engine.guest.emit import emit, emit_block, emit_store, emit_touch
from engine.guest.state import State
from engine.jit import array_kernel


@array_kernel
def entry_index(va: int, level: int) -> int:
    """Return the index of the entry that maps an address in a table of a level."""
    return (va >> (c.PAGE_SHIFT + c.INDEX_BITS * (level - 1))) & (c.ENTRIES - 1)


@array_kernel
def entry_gfn(entry: int) -> int:
    """Return the frame that an entry points to."""
    return (entry >> c.PAGE_SHIFT) & c.GFN_MASK


@array_kernel
def is_mapped(entry: int) -> bool:
    """Tell whether Linux has a page here: present, or made inaccessible by PROT_NONE."""
    return (entry & (c.PRESENT | c.GLOBAL)) != 0


@array_kernel
def table_below(state: State, table: int, va: int, level: int) -> int:
    """Return the table that the entry of `table` (of `level`) leads to, or NONE; so for a frame that is no table."""
    slot = state.frames[table]["slot"]
    if slot == c.NONE:
        return c.NONE
    entry = state.entries[slot, entry_index(va, level)]
    if entry & c.PRESENT == 0:
        return c.NONE
    return entry_gfn(entry)


@array_kernel
def find_table(state: State, root: int, va: int, level: int) -> int:
    """Return the table of a level on the way to an address, or NONE."""
    table = int(root)
    for above in range(c.TOP_LEVEL, level, -1):
        table = table_below(state, table, va, above)
        if table == c.NONE:
            return c.NONE
    return table


@array_kernel
def after_gap(state: State, root: int, va: int) -> int:
    """Return where the next level-1 table may begin above an address that has none: the end of what is absent.

    Loops over a range step by it, so that a mapping costs what is present in it, whatever its size.
    """
    table = int(root)
    level = c.TOP_LEVEL
    while level > 2:
        below = table_below(state, table, va, level)
        if below == c.NONE:
            break
        table = below
        level -= 1
    span = 1 << (c.PAGE_SHIFT + c.INDEX_BITS * (level - 1))
    return (va & ~(span - 1)) + span


@array_kernel
def read_entry(state: State, root: int, va: int) -> int:
    """Return the level-1 entry of an address, 0 if there is no table."""
    table = find_table(state, root, va, 1)
    if table == c.NONE:
        return 0
    return int(state.entries[state.frames[table]["slot"], entry_index(va, 1)])


@array_kernel
def write_entry(state: State, vcpu: int, table: int, index: int, value: int, insn: int, width: int, live: int) -> None:
    """Store one entry of a table."""
    state.entries[state.frames[table]["slot"], index] = value
    emit_store(state, vcpu, (table << c.PAGE_SHIFT) + index * 8, value, insn, width, live)


@array_kernel
def clear_frame(state: State, vcpu: int, gfn: int) -> None:
    """Clear a page that is to hold data: stores if it was a table once, one touch of the direct map otherwise."""
    world = state.globals[0]
    activity = world["activity"]
    world["activity"] = c.IN_REUSE
    if state.frames[gfn]["was_table"]:
        emit_block(state, vcpu, gfn, world["clear_insn"], world["clear_width"], world["clear_count"], 0)
    else:
        emit_touch(state, vcpu, c.DIRECT_MAP + (gfn << c.PAGE_SHIFT), c.WRITE)
    world["activity"] = activity


@array_kernel
def copy_frame(state: State, vcpu: int, source: int, gfn: int) -> None:
    """Fill a page with a copy of another."""
    world = state.globals[0]
    if state.knobs[0]["init_on_alloc"]:
        clear_frame(state, vcpu, gfn)
    emit_touch(state, vcpu, c.DIRECT_MAP + (source << c.PAGE_SHIFT), c.READ)
    if state.frames[gfn]["was_table"]:
        activity = world["activity"]
        world["activity"] = c.IN_REUSE
        emit_block(state, vcpu, gfn, c.REP_MOVS, 8, c.ENTRIES, 0)
        world["activity"] = activity
    elif not state.knobs[0]["init_on_alloc"]:
        emit_touch(state, vcpu, c.DIRECT_MAP + (gfn << c.PAGE_SHIFT), c.WRITE)


@array_kernel
def allocate_table(state: State, vcpu: int, level: int) -> int:
    """Allocate a frame for a table and clear it; the caller links it."""
    world = state.globals[0]
    gfn = allocate_frame(state, vcpu, c.UNMOVABLE, c.TABLE)
    frame = state.frames[gfn]
    if world["slot_top"] == 0:
        world["failure"] = c.NO_MEMORY
        return 0
    if gfn == 0:
        return gfn
    world["slot_top"] -= 1
    slot = state.slots[world["slot_top"]]
    frame["slot"] = slot
    frame["level"] = level
    state.entries[slot, :] = 0
    if not frame["was_table"]:
        frame["was_table"] = 1
        emit(state, vcpu, c.LINK, gfn << c.PAGE_SHIFT, level)
    emit_block(state, vcpu, gfn, world["clear_insn"], world["clear_width"], world["clear_count"], 0)
    return gfn


@array_kernel
def release_table(state: State, gfn: int) -> None:
    """Forget the contents of a table whose frame is about to be freed."""
    world = state.globals[0]
    frame = state.frames[gfn]
    if frame["slot"] != c.NONE:
        state.slots[world["slot_top"]] = frame["slot"]
        world["slot_top"] += 1
        frame["slot"] = c.NONE


@array_kernel
def ensure_table(state: State, vcpu: int, mm: int, va: int) -> int:
    """Return the level-1 table of an address; allocate what is missing: clear it, then store the parent's entry."""
    space = state.mms[mm]
    live = c.LIVE if space["live"] else 0
    table = int(space["root"])
    for level in range(c.TOP_LEVEL, 1, -1):
        below = table_below(state, table, va, level)
        if below == c.NONE:
            below = allocate_table(state, vcpu, level - 1)
            if below == 0:
                return 0
            space["tables"] += 1
            entry = (below << c.PAGE_SHIFT) | c.TABLE_FLAGS
            write_entry(state, vcpu, table, entry_index(va, level), entry, c.MOV, 8, live)
        table = below
    return table


@array_kernel
def allocate_root(state: State, vcpu: int) -> int:
    """Allocate a root: cleared, then the kernel half copied from the kernel's own root (Linux pgd_ctor)."""
    root = allocate_table(state, vcpu, c.TOP_LEVEL)
    if root == 0:
        return root
    half = c.ENTRIES // 2
    slot, source = state.frames[root]["slot"], state.frames[state.globals[0]["kernel_root"]]["slot"]
    place = emit(state, vcpu, c.STORE, (root << c.PAGE_SHIFT) + half * 8, 0)
    event = state.out[place]
    event["insn"] = c.REP_MOVS
    event["width"] = 8
    event["count"] = half
    for index in range(half, c.ENTRIES):
        entry = state.entries[source, index]
        state.entries[slot, index] = entry
        if entry != 0:
            emit(state, vcpu, c.CONTENT, (root << c.PAGE_SHIFT) + index * 8, entry)
    return root
