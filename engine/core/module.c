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

/* digest(events, state) -> the digest after these events, from the digest before them. */
static PyObject *digest(PyObject *module, PyObject *arguments)
{
	PyObject *events;
	unsigned long long state;
	Py_buffer view;

	(void)module;
	if (!PyArg_ParseTuple(arguments, "OK:digest", &events, &state))
		return NULL;
	if (!take_buffer(events, &view, "events", sizeof(struct event), false))
		return NULL;
	uint64_t after;
	Py_BEGIN_ALLOW_THREADS
	after = digest_words(view.buf, (size_t)view.len / sizeof(uint64_t), state);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&view);
	return PyLong_FromUnsignedLongLong(after);
}

static PyMethodDef methods[] = {
	{"digest", digest, METH_VARARGS, "digest(events, state): return the digest after these events."},
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
