#include "buffers.h"

#include <stdint.h>

enum { ALIGNMENT_MAX = 8 };

bool take_buffer(PyObject *object, Py_buffer *view, const char *name, Py_ssize_t item_bytes, bool writable)
{
	int flags = PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0);

	if (PyObject_GetBuffer(object, view, flags) < 0) {
		PyErr_Clear();
		PyErr_Format(PyExc_ValueError, "%s: expected a C-contiguous%s array", name, writable ? ", writable" : "");
		return false;
	}
	/* A record is aligned to its largest power of two, up to that of a 64-bit number. */
	Py_ssize_t alignment = item_bytes & -item_bytes;
	if (alignment > ALIGNMENT_MAX)
		alignment = ALIGNMENT_MAX;
	if (view->len % item_bytes || (uintptr_t)view->buf % (uintptr_t)alignment) {
		PyErr_Format(PyExc_ValueError, "%s: expected records of %zd bytes, aligned to %zd; found %zd bytes at %p", name,
			     item_bytes, alignment, view->len, view->buf);
		PyBuffer_Release(view);
		return false;
	}
	return true;
}
