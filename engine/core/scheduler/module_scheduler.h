#pragma once

#include "arrays.h"

/* scheduler_start(state, spill, out) -> (status, count) */
PyObject *scheduler_start(PyObject *module, PyObject *arguments);

/* scheduler_run(state, spill, out) -> (status, count) */
PyObject *scheduler_run(PyObject *module, PyObject *arguments);
