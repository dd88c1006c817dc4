/* What Python may call of the lane machine; engine/core/machine.py is its only caller. */
#include "../buffers.h"
#include "lanes.h"

static const char CAPSULE[] = "engine._core.lanes";

static void destroy(PyObject *capsule)
{
	struct machine *machine = PyCapsule_GetPointer(capsule, CAPSULE);

	if (machine)
		lanes_functions()->destroy(machine);
}

/* lanes_new(knobs, pages, vcpus) -> machine. */
static PyObject *lanes_new(PyObject *module, PyObject *arguments)
{
	PyObject *object;
	long long pages, vcpus;
	Py_buffer knobs;
	const struct lanes_functions *lanes = lanes_functions();

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OLL:lanes_new", &object, &pages, &vcpus))
		return NULL;
	if (!take_buffer(object, &knobs, "knobs", sizeof(struct knobs), false))
		return NULL;
	Py_ssize_t count = knobs.len / (Py_ssize_t)sizeof(struct knobs);
	PyObject *capsule = NULL;

	if (count < 1 || count > LANES_MAX) {
		PyErr_Format(PyExc_ValueError, "a batch has 1 to %d policies, found %zd", LANES_MAX, count);
	} else if (pages < 1 || pages > lanes->frames || vcpus < 1 || vcpus > lanes->vcpus) {
		PyErr_Format(PyExc_ValueError, "a guest has at most %lld MiB and %lld vCPUs, found %lld MiB and %lld vCPUs",
			     (long long)lanes->frames / 256, (long long)lanes->vcpus, pages / 256, vcpus);
	} else {
		struct machine *machine = lanes->create(knobs.buf, (int)count, pages, (int)vcpus);

		capsule = machine ? PyCapsule_New(machine, CAPSULE, destroy) : PyErr_NoMemory();
		if (machine && !capsule)
			lanes->destroy(machine);
	}
	PyBuffer_Release(&knobs);
	return capsule;
}

/* lanes_advance(machine, events, start) -> (number of the next event, why it stopped, what is wrong, last window). */
static PyObject *lanes_advance(PyObject *module, PyObject *arguments)
{
	PyObject *capsule, *object;
	Py_ssize_t start;
	Py_buffer events;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OOn:lanes_advance", &capsule, &object, &start))
		return NULL;
	struct machine *machine = PyCapsule_GetPointer(capsule, CAPSULE);

	if (!machine || !take_buffer(object, &events, "events", sizeof(struct event), false))
		return NULL;
	Py_ssize_t count = events.len / (Py_ssize_t)sizeof(struct event);

	if (start < 0 || start > count) {
		PyBuffer_Release(&events);
		return PyErr_Format(PyExc_ValueError, "start: expected 0 to %zd, found %zd", count, start);
	}
	struct advanced advanced;
	Py_BEGIN_ALLOW_THREADS
	advanced = lanes_functions()->advance(machine, events.buf, (size_t)count, (size_t)start);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&events);
	return Py_BuildValue("niiK", (Py_ssize_t)advanced.next, (int)advanced.why, advanced.wrong,
			     (unsigned long long)advanced.window);
}

/* lanes_read(machine, counters, peaks): write counters[activity, lane, counter] and peaks[lane]. */
static PyObject *lanes_read(PyObject *module, PyObject *arguments)
{
	PyObject *capsule, *of_counters, *of_peaks;
	Py_buffer counters, peaks;
	bool fits;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OOO:lanes_read", &capsule, &of_counters, &of_peaks))
		return NULL;
	struct machine *machine = PyCapsule_GetPointer(capsule, CAPSULE);

	if (!machine || !take_buffer(of_counters, &counters, "counters", sizeof(int64_t), true))
		return NULL;
	if (!take_buffer(of_peaks, &peaks, "peaks", sizeof(int64_t), true)) {
		PyBuffer_Release(&counters);
		return NULL;
	}
	Py_ssize_t lanes = peaks.len / (Py_ssize_t)sizeof(int64_t);

	fits = lanes >= 1 && lanes <= LANES_MAX && counters.len == lanes * ACTIVITIES * COUNTERS * (Py_ssize_t)sizeof(int64_t);
	if (fits)
		lanes_functions()->read(machine, (int)lanes, counters.buf, peaks.buf);
	else
		PyErr_Format(PyExc_ValueError, "counters: expected %d activities of %d counters for each of %zd lanes",
			     ACTIVITIES, COUNTERS, lanes);
	PyBuffer_Release(&counters);
	PyBuffer_Release(&peaks);
	return fits ? Py_NewRef(Py_None) : NULL;
}

/* lanes_limits() -> (instruction set, slots, tables, odd entries, frames, vCPUs). */
static PyObject *lanes_limits(PyObject *module, PyObject *arguments)
{
	const struct lanes_functions *lanes = lanes_functions();

	(void)module;
	(void)arguments;
	return Py_BuildValue("sLLLLL", lanes->name, (long long)lanes->capacity[0], (long long)lanes->capacity[1],
			     (long long)lanes->capacity[2], (long long)lanes->frames, (long long)lanes->vcpus);
}

PyMethodDef lanes_methods[] = {
	{"lanes_new", lanes_new, METH_VARARGS, "lanes_new(knobs, pages, vcpus): return a machine."},
	{"lanes_advance", lanes_advance, METH_VARARGS, "lanes_advance(machine, events, start): return (next, why, wrong, window)."},
	{"lanes_read", lanes_read, METH_VARARGS, "lanes_read(machine, counters, peaks): write the counters so far."},
	{"lanes_limits", lanes_limits, METH_NOARGS, "lanes_limits(): return the instruction set and the capacities."},
	{NULL, NULL, 0, NULL},
};
