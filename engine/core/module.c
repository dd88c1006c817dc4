/* The Python extension `engine._core`. Each part of the core has its own table of functions. */
#include "buffers.h"
#include "digest.h"
#include "layout.h"

/* Named beside figures of speed, which are those of one compiler. */
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

extern PyMethodDef guest_methods[];
extern PyMethodDef lanes_methods[];

/* digest(events, chains): go on with the chains of a digest over events. */
static PyObject *digest(PyObject *module, PyObject *arguments)
{
	PyObject *events, *chains;
	Py_buffer of_events, of_chains;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OO:digest", &events, &chains))
		return NULL;
	if (!take_buffer(events, &of_events, "events", sizeof(struct event), false))
		return NULL;
	if (!take_buffer(chains, &of_chains, "chains", DIGEST_CHAINS * sizeof(uint64_t), true)) {
		PyBuffer_Release(&of_events);
		return NULL;
	}
	bool fits = of_chains.len == DIGEST_CHAINS * sizeof(uint64_t);

	if (fits) {
		Py_BEGIN_ALLOW_THREADS
		digest_events(of_events.buf, (size_t)of_events.len / sizeof(struct event), of_chains.buf);
		Py_END_ALLOW_THREADS
	} else {
		PyErr_Format(PyExc_ValueError, "chains: expected %d words", (int)DIGEST_CHAINS);
	}
	PyBuffer_Release(&of_events);
	PyBuffer_Release(&of_chains);
	return fits ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef methods[] = {
	{"digest", digest, METH_VARARGS, "digest(events, chains): go on with the chains of a digest over events."},
	{NULL, NULL, 0, NULL},
};

static int add_parts(PyObject *module)
{
	if (PyModule_AddFunctions(module, lanes_methods) < 0)
		return -1;
	if (PyModule_AddFunctions(module, guest_methods) < 0)
		return -1;
	if (PyModule_AddStringConstant(module, "COMPILER", COMPILER) < 0)
		return -1;
	return PyModule_AddStringConstant(module, "BUILT_FROM", BUILT_FROM);
}

static PyModuleDef_Slot slots[] = {
	{Py_mod_exec, (void *)add_parts},
	{0, NULL},
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "engine._core",
	.m_doc = "The engine's core: lanes, guest model and scheduler.",
	.m_methods = methods,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
	return PyModuleDef_Init(&definition);
}
