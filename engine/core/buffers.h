/* Arrays of Python as C sees them: every function of the module takes its arguments through here. */
#pragma once

#include <Python.h>
#include <stdbool.h>

/*
 * Take an array of records of `item_bytes` each. False with ValueError set if it is not C-contiguous, not writable
 * where it has to be, not aligned to its records, or no whole number of records; `name` says which argument it was.
 */
bool take_buffer(PyObject *object, Py_buffer *view, const char *name, Py_ssize_t item_bytes, bool writable);
