#pragma once

#include "arrays.h"
#include "guest/state.h"

/*
 * Take the arrays of a guest (`State` of engine/guest/state.py) and look whether their sizes fit each other, then move
 * waiting events to the buffer. False with ValueError set if an array is missing or has another size.
 */
bool bind_guest(struct guest *guest, struct arrays *arrays, PyObject *state, PyObject *capsule);

/* Give the arrays back, with the number of events in the buffer noted. */
void unbind_guest(struct guest *guest, struct arrays *arrays);
