/* The functions of `engine._core` for the guest model and the scheduler. */
#include "bind.h"
#include "dispatch.h"
#include "guest/tables/kernel_map.h"
#include "scheduler/module_scheduler.h"

/* guest_power_on(state, spill) -> status */
static PyObject *guest_power_on(PyObject *module, PyObject *arguments)
{
	struct arrays arrays;
	struct guest guest;
	PyObject *state, *capsule;
	int status;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OO:guest_power_on", &state, &capsule) ||
	    !bind_guest(&guest, &arrays, state, capsule))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	status = power_on(&guest);
	Py_END_ALLOW_THREADS
	unbind_guest(&guest, &arrays);
	return PyLong_FromLong(status);
}

/* guest_run(state, spill, operations, position) -> (status, position) */
static PyObject *guest_run(PyObject *module, PyObject *arguments)
{
	struct arrays arrays;
	struct guest guest;
	PyObject *state, *capsule, *operations;
	Py_ssize_t first;
	Py_buffer view;
	int64_t count, position;
	int status;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OOOn:guest_run", &state, &capsule, &operations, &first) ||
	    !take_buffer(operations, &view, "operations", sizeof(struct operation), false))
		return NULL;
	count = view.len / (Py_ssize_t)sizeof(struct operation);
	if (first < 0 || first > count) {
		PyErr_Format(PyExc_ValueError, "guest model: position = %zd; allowed is 0 to %lld", first,
			     (long long)count);
		PyBuffer_Release(&view);
		return NULL;
	}
	if (!bind_guest(&guest, &arrays, state, capsule)) {
		PyBuffer_Release(&view);
		return NULL;
	}
	position = first;
	Py_BEGIN_ALLOW_THREADS
	status = run_operations(&guest, view.buf, count, &position);
	Py_END_ALLOW_THREADS
	unbind_guest(&guest, &arrays);
	PyBuffer_Release(&view);
	return Py_BuildValue("(iL)", status, (long long)position);
}

/* guest_finish(state, spill) -> None */
static PyObject *guest_finish(PyObject *module, PyObject *arguments)
{
	struct arrays arrays;
	struct guest guest;
	PyObject *state, *capsule;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OO:guest_finish", &state, &capsule) ||
	    !bind_guest(&guest, &arrays, state, capsule))
		return NULL;
	finish_run(&guest);
	unbind_guest(&guest, &arrays);
	Py_RETURN_NONE;
}

PyMethodDef guest_methods[] = {
	{"new_spill", new_spill, METH_NOARGS,
	 "new_spill(): return a place for rows that find a buffer full; each guest and each build has its own."},
	{"guest_power_on", guest_power_on, METH_VARARGS,
	 "guest_power_on(state, spill): build the kernel's tables; return a Status."},
	{"guest_run", guest_run, METH_VARARGS,
	 "guest_run(state, spill, operations, position): return a Status and the position after what was carried out."},
	{"guest_finish", guest_finish, METH_VARARGS, "guest_finish(state, spill): emit the run time that is left."},
	{"scheduler_start", scheduler_start, METH_VARARGS,
	 "scheduler_start(state, spill, out): start the first builds; return a Status and the number of operations."},
	{"scheduler_run", scheduler_run, METH_VARARGS,
	 "scheduler_run(state, spill, out): fill `out` with the next operations; return a Status and their number."},
	{NULL, NULL, 0, NULL},
};
