"""Guest memory that was ever a table, and the walk of the guest's tables; the same for all lanes."""

from typing import Final

import numpy as np

from engine.jit import array_kernel as kernel
from engine.lanes.bits import ZERO
from engine.lanes.state import (
    NONE,
    R_CR3,
    S_PAGES,
    S_TABLES,
    TABLE,
    W_ACCESS,
    W_GFN,
    W_LEVEL,
    W_TABLE,
    W_TABLE_ACCESS,
    Lanes,
)

G_PRESENT: Final = np.uint64(1 << 0)
G_WRITABLE: Final = np.uint64(1 << 1)
G_USER: Final = np.uint64(1 << 2)
G_ACCESSED: Final = np.uint64(1 << 5)
G_DIRTY: Final = np.uint64(1 << 6)
G_LARGE: Final = np.uint64(1 << 7)
G_NO_EXECUTE: Final = np.uint64(1 << 63)
G_FRAME: Final = np.uint64(((1 << 40) - 1) << 12)
PAGE_BITS: Final = np.uint64(12)

ACC_EXEC: Final = 1
ACC_WRITE: Final = 2
ACC_USER: Final = 4
ACC_ALL: Final = 7
ROOT_LEVEL: Final = 4


@kernel
def gfn_of(gpte: np.uint64) -> int:
    """Return the frame that an entry refers to."""
    return np.int64((gpte & G_FRAME) >> PAGE_BITS)


@kernel
def access_of(gpte: np.uint64) -> int:
    """Return the access bits that an entry grants."""
    access = 0 if gpte & G_NO_EXECUTE else ACC_EXEC
    if gpte & G_WRITABLE:
        access |= ACC_WRITE
    if gpte & G_USER:
        access |= ACC_USER
    return access


@kernel
def index_of(gva: np.uint64, level: int) -> int:
    """Return the entry of a table of `level` that translates `gva`."""
    return np.int64((gva >> np.uint64(9 * level + 3)) & np.uint64(511))


@kernel
def read(st: Lanes, gfn: int, index: int) -> np.uint64:
    """Return an 8-byte entry of guest memory; what was never written reads as zero."""
    table = st.frames[gfn, TABLE]
    return ZERO if table == NONE else st.tables[table, index]


@kernel
def table_of(st: Lanes, gfn: int) -> int:
    """Return where a frame's contents are, making room for them if it had none."""
    table = st.frames[gfn, TABLE]
    if table == NONE:
        table = st.scalars[S_TABLES]
        st.frames[gfn, TABLE] = table
        st.scalars[S_TABLES] += 1
    return table


@kernel
def walk_guest(st: Lanes, vcpu: int, gva: np.uint64, write: bool) -> bool:
    """Walk the guest's tables as the CPU does, into `st.walk`; False if they do not allow the access."""
    table = st.roots[vcpu, R_CR3]
    if table == NONE:
        return False
    access, level, pages = ACC_ALL, ROOT_LEVEL, st.scalars[S_PAGES]
    while True:
        st.walk[W_TABLE + level], st.walk[W_TABLE_ACCESS + level] = table, access
        gpte = read(st, table, index_of(gva, level))
        if not gpte & G_PRESENT:
            return False
        access &= access_of(gpte)
        if level == 1 or (gpte & G_LARGE and level < ROOT_LEVEL):
            break
        table, level = gfn_of(gpte), level - 1
        if table >= pages:
            return False
    span = (np.int64(1) << 9 * (level - 1)) - 1
    gfn = (gfn_of(gpte) & ~span) | (np.int64((gva >> PAGE_BITS) & np.uint64((1 << 52) - 1)) & span)
    if gfn >= pages or (write and not access & ACC_WRITE):
        return False
    for above in range(level, ROOT_LEVEL + 1):
        contents = st.frames[st.walk[W_TABLE + above], TABLE]
        st.tables[contents, index_of(gva, above)] |= G_ACCESSED
    if write:
        st.tables[st.frames[table, TABLE], index_of(gva, level)] |= G_DIRTY
    elif not gpte & G_DIRTY:
        access &= ~ACC_WRITE
    st.walk[W_GFN], st.walk[W_LEVEL], st.walk[W_ACCESS] = gfn, level, access
    return True


@kernel
def is_mapped(st: Lanes, vcpu: int, gva: np.uint64) -> bool:
    """Return whether the guest's entries for `gva` are present, whatever access they grant."""
    table = st.roots[vcpu, R_CR3]
    if table == NONE:
        return False
    level = ROOT_LEVEL
    while True:
        gpte = read(st, table, index_of(gva, level))
        if not gpte & G_PRESENT:
            return False
        if level == 1 or (gpte & G_LARGE and level < ROOT_LEVEL):
            return True
        table, level = gfn_of(gpte), level - 1
        if table >= st.scalars[S_PAGES]:
            return False
