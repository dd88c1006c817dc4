"""Allocate and free frames as Linux does: per-CPU LIFO lists over a buddy allocator, both divided by migrate type.

Source: mm/page_alloc.c of Linux 3.0 and 6.1 (rmqueue, free_unref_page, __rmqueue_fallback). Reduced: one zone, two
migrate types (tables and kernel data are unmovable, user and page-cache pages movable), no watermarks but `low_frames`.
"""

from engine.guest import constants as c
from engine.guest.state import LIST_ROOM, State
from engine.jit import array_kernel


@array_kernel
def push_block(state: State, gfn: int, order: int) -> None:
    """Put a free block at the head of its list."""
    kind = state.blocks[gfn >> c.BLOCK_ORDER]
    head = state.free_heads[kind, order]
    frame = state.frames[gfn]
    frame["next"] = head
    frame["previous"] = c.NONE
    frame["order"] = order
    if head != c.NONE:
        state.frames[head]["previous"] = gfn
    state.free_heads[kind, order] = gfn


@array_kernel
def remove_block(state: State, gfn: int) -> None:
    """Take a free block out of its list."""
    frame = state.frames[gfn]
    before, after = frame["previous"], frame["next"]
    if before == c.NONE:
        state.free_heads[state.blocks[gfn >> c.BLOCK_ORDER], frame["order"]] = after
    else:
        state.frames[before]["next"] = after
    if after != c.NONE:
        state.frames[after]["previous"] = before
    frame["order"] = c.NONE


@array_kernel
def free_to_buddy(state: State, gfn: int) -> None:
    """Free one frame to the buddy lists, merged with its free buddies."""
    order = 0
    pages = state.globals[0]["pages"]
    while order < c.ORDERS - 1:
        buddy = gfn ^ (1 << order)
        if buddy + (1 << order) > pages or state.frames[buddy]["order"] != order:
            break
        remove_block(state, buddy)
        gfn = min(gfn, buddy)
        order += 1
    push_block(state, gfn, order)


@array_kernel
def split_off(state: State, gfn: int) -> int:
    """Take the first frame of a free block and free the rest as smaller blocks."""
    order = int(state.frames[gfn]["order"])
    remove_block(state, gfn)
    while order > 0:
        order -= 1
        push_block(state, gfn + (1 << order), order)
    return gfn


@array_kernel
def claim_block(state: State, block: int, kind: int) -> None:
    """Give a pageblock another migrate type and move its free blocks to the lists of that type."""
    first = block << c.BLOCK_ORDER
    last = min(first + (1 << c.BLOCK_ORDER), state.globals[0]["pages"])
    orders = state.frames["order"]
    for gfn in range(first, last):
        order = orders[gfn]
        if order != c.NONE:
            remove_block(state, gfn)
            state.blocks[block] = kind
            push_block(state, gfn, order)
            state.blocks[block] = 1 - kind
    state.blocks[block] = kind


@array_kernel
def free_in_block(state: State, block: int) -> int:
    """Count the free frames of a pageblock."""
    first = block << c.BLOCK_ORDER
    last = min(first + (1 << c.BLOCK_ORDER), state.globals[0]["pages"])
    orders = state.frames["order"]
    total = 0
    for gfn in range(first, last):
        if orders[gfn] != c.NONE:
            total += 1 << int(orders[gfn])
    return total


@array_kernel
def take_fallback(state: State, kind: int) -> int:
    """Take a frame from the other migrate type: of the largest block, and claim its pageblock if half of it is free."""
    for order in range(c.ORDERS - 1, -1, -1):
        head = state.free_heads[1 - kind, order]
        if head == c.NONE:
            continue
        block = head >> c.BLOCK_ORDER
        if order > c.BLOCK_ORDER:
            gfn = split_off(state, head)
            if state.blocks[block] != kind:
                claim_block(state, block, kind)
            return int(gfn)
        may_claim = kind == c.UNMOVABLE or order >= c.BLOCK_ORDER // 2
        gfn = split_off(state, head)
        if may_claim and 2 * (free_in_block(state, block) + 1) >= 1 << c.BLOCK_ORDER:
            claim_block(state, block, kind)
        return int(gfn)
    return c.NONE


@array_kernel
def take_from_buddy(state: State, kind: int) -> int:
    """Take one frame, from the smallest block that is free."""
    for order in range(c.ORDERS):
        head = state.free_heads[kind, order]
        if head != c.NONE:
            return split_off(state, head)
    return take_fallback(state, kind)


@array_kernel
def drain_list(state: State, vcpu: int, kind: int, count: int) -> None:
    """Give frames from the cold end of a per-CPU list back to the buddy lists."""
    row = state.list_state[vcpu, kind]
    for _ in range(min(count, row[1])):
        gfn = state.lists[vcpu, kind, row[0]]
        row[0] = (row[0] + 1) & (LIST_ROOM - 1)
        row[1] -= 1
        free_to_buddy(state, gfn)


@array_kernel
def refill_list(state: State, vcpu: int, kind: int) -> None:
    """Fill an empty per-CPU list with a batch; what came first is handed out first."""
    row = state.list_state[vcpu, kind]
    for _ in range(state.knobs[0]["pcp_batch"]):
        gfn = take_from_buddy(state, kind)
        if gfn == c.NONE:
            break
        row[0] = (row[0] - 1) & (LIST_ROOM - 1)
        row[1] += 1
        state.lists[vcpu, kind, row[0]] = gfn
    if row[1] == 0:
        for other in range(state.globals[0]["vcpus"]):
            drain_list(state, other, 0, LIST_ROOM)
            drain_list(state, other, 1, LIST_ROOM)
        gfn = take_from_buddy(state, kind)
        if gfn != c.NONE:
            row[1] = 1
            state.lists[vcpu, kind, row[0]] = gfn


@array_kernel
def allocate_frame(state: State, vcpu: int, migrate: int, kind: int) -> int:
    """Allocate the hottest free frame of this vCPU; if there is none at all, note the failure and return frame 0."""
    row = state.list_state[vcpu, migrate]
    if row[1] == 0:
        refill_list(state, vcpu, migrate)
    world = state.globals[0]
    if row[1] == 0:
        world["failure"] = c.NO_MEMORY
        return 0
    row[1] -= 1
    gfn = int(state.lists[vcpu, migrate, (row[0] + row[1]) & (LIST_ROOM - 1)])
    frame = state.frames[gfn]
    frame["kind"] = kind
    frame["references"] = 1
    world["free_frames"] -= 1
    for other in range(world["vcpus"]):
        state.stamps[gfn, other] = 0
    return gfn


@array_kernel
def free_frame(state: State, vcpu: int, gfn: int) -> None:
    """Free a frame to the hot end of this vCPU's list."""
    frame = state.frames[gfn]
    if frame["kind"] == c.RESERVED:
        return
    frame["kind"] = c.FREE
    frame["references"] = 0
    migrate = state.blocks[gfn >> c.BLOCK_ORDER]
    row = state.list_state[vcpu, migrate]
    state.lists[vcpu, migrate, (row[0] + row[1]) & (LIST_ROOM - 1)] = gfn
    row[1] += 1
    state.globals[0]["free_frames"] += 1
    knobs = state.knobs[0]
    if row[1] + state.list_state[vcpu, 1 - migrate, 1] > knobs["pcp_high"]:
        drain_list(state, vcpu, migrate, knobs["pcp_batch"])


@array_kernel
def seed_free_lists(state: State, first: int, last: int) -> None:
    """Give a range of frames to the allocator at power-on, so that low frames are handed out first."""
    for gfn in range(last - 1, first - 1, -1):
        state.frames[gfn]["kind"] = c.FREE
        free_to_buddy(state, gfn)
    state.globals[0]["free_frames"] += last - first
