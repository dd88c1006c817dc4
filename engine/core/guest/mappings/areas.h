#pragma once

#include "guest/state.h"

/* Return the index of the first area that ends above an address (Linux find_vma); the number of areas if none does. */
int first_area_after(const struct guest *guest, int mm, int64_t va);

/* Return the index of the area that holds an address, or ABSENT. */
int find_area(struct guest *guest, int mm, int64_t va);

/* Remove the area at an index. */
void close_place(struct guest *guest, int mm, int index);

/*
 * Insert an area where none is, and return its index; anonymous neighbours of the same kind become one (Linux
 * vma_merge). With all places taken it is joined with the area before it.
 */
int insert_area(struct guest *guest, int mm, struct area area);

/* Divide the area that holds an address there, unless it starts there (Linux split_vma). */
void split_area(struct guest *guest, int mm, int64_t va);

/* Name a file that no recording names: by the command that maps it and the length that it maps (assumption). */
int32_t file_identity(int64_t comm, int64_t pages);

/* Return the page-cache frame that holds a page of a file area: the same for every process that maps it. */
int64_t cache_gfn(const struct guest *guest, int mm, int index, int64_t va);

/*
 * Make an area for an address that no operation mapped: the stack, or a private file mapping of up to 256 KiB.
 * Recordings show executable mappings only, so an exec's data segments, the stack and the vdso are found this way.
 */
int infer_area(struct guest *guest, int mm, int64_t va, int64_t comm, bool fetch);
