/* What Python may call of the lane machine; engine/core/machine.py is its only caller. */
#include "../buffers.h"
#include "lanes.h"

static const char CAPSULE[] = "engine._core.lanes";

/* What the machine in a capsule is made of. */
static const struct lanes_functions *functions_of(PyObject *capsule)
{
	return PyCapsule_GetContext(capsule);
}

static void destroy(PyObject *capsule)
{
	struct machine *machine = PyCapsule_GetPointer(capsule, CAPSULE);

	if (machine)
		functions_of(capsule)->destroy(machine);
}

/* A capsule that owns a machine, or NULL. */
static PyObject *capsule_of(struct machine *machine, const struct lanes_functions *lanes)
{
	PyObject *capsule = machine ? PyCapsule_New(machine, CAPSULE, destroy) : PyErr_NoMemory();

	if (machine && !capsule)
		lanes->destroy(machine);
	if (capsule && PyCapsule_SetContext(capsule, (void *)lanes))
		Py_CLEAR(capsule);
	return capsule;
}

/* lanes_new(word, knobs, pages, vcpus) -> machine. */
static PyObject *lanes_new(PyObject *module, PyObject *arguments)
{
	PyObject *object;
	long long pages, vcpus;
	Py_buffer knobs;
	int word;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "iOLL:lanes_new", &word, &object, &pages, &vcpus))
		return NULL;
	const struct lanes_functions *lanes = lanes_word(word);

	if (!lanes)
		return PyErr_Format(PyExc_ValueError, "word: this CPU has no word %d", word);
	if (!take_buffer(object, &knobs, "knobs", sizeof(struct knobs), false))
		return NULL;
	Py_ssize_t count = knobs.len / (Py_ssize_t)sizeof(struct knobs);
	PyObject *capsule = NULL;

	if (count < 1 || count > lanes->lanes) {
		PyErr_Format(PyExc_ValueError, "a word has 1 to %d policies, found %zd", lanes->lanes, count);
	} else if (pages < 1 || pages > lanes->frames || vcpus < 1 || vcpus > lanes->vcpus) {
		PyErr_Format(PyExc_ValueError, "a guest has at most %lld MiB and %lld vCPUs, found %lld MiB and %lld vCPUs",
			     (long long)lanes->frames / 256, (long long)lanes->vcpus, pages / 256, vcpus);
	} else {
		capsule = capsule_of(lanes->create(knobs.buf, (int)count, pages, (int)vcpus), lanes);
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
	const struct lanes_functions *lanes = functions_of(capsule);
	struct advanced advanced;

	Py_BEGIN_ALLOW_THREADS
	advanced = lanes->advance(machine, events.buf, (size_t)count, (size_t)start);
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
	const struct lanes_functions *word = functions_of(capsule);
	Py_ssize_t lanes = peaks.len / (Py_ssize_t)sizeof(int64_t);

	fits = lanes >= 1 && lanes <= word->lanes &&
	       counters.len == lanes * ACTIVITIES * COUNTERS * (Py_ssize_t)sizeof(int64_t);
	if (fits)
		word->read(machine, (int)lanes, counters.buf, peaks.buf);
	else
		PyErr_Format(PyExc_ValueError, "counters: expected %d activities of %d counters for each of %zd lanes",
			     ACTIVITIES, COUNTERS, lanes);
	PyBuffer_Release(&counters);
	PyBuffer_Release(&peaks);
	return fits ? Py_NewRef(Py_None) : NULL;
}

/* lanes_words() -> [(instruction set, lanes, slots, tables, odd entries, frames, vCPUs), ...], narrowest first. */
static PyObject *lanes_words(PyObject *module, PyObject *arguments)
{
	PyObject *words = PyList_New(0);
	const struct lanes_functions *one;

	(void)module;
	(void)arguments;
	for (int which = 0; words && (one = lanes_word(which)); which++) {
		PyObject *word = Py_BuildValue("siLLLLL", one->name, one->lanes, (long long)one->capacity[0],
					       (long long)one->capacity[1], (long long)one->capacity[2],
					       (long long)one->frames, (long long)one->vcpus);

		if (!word || PyList_Append(words, word))
			Py_CLEAR(words);
		Py_XDECREF(word);
	}
	return words;
}

PyMethodDef lanes_methods[] = {
	{"lanes_new", lanes_new, METH_VARARGS, "lanes_new(word, knobs, pages, vcpus): return a machine."},
	{"lanes_advance", lanes_advance, METH_VARARGS, "lanes_advance(machine, events, start): return (next, why, wrong, window)."},
	{"lanes_read", lanes_read, METH_VARARGS, "lanes_read(machine, counters, peaks): write the counters so far."},
	{"lanes_words", lanes_words, METH_NOARGS, "lanes_words(): return the words that this CPU has, and their capacities."},
	{NULL, NULL, 0, NULL},
};
