/*
 * The two things that are done so often that cffi's own cost would be most of it: an access to device memory, and an
 * ioctl whose structure is numbers. Everything else goes through cffi; docs/explanation/vfio.md says why.
 */
#include <Python.h>

#include "access.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

/* ---- Accessors: the base class of a mapped window ---- */

struct accessors {
	PyObject_HEAD
	struct vfiokit_window window;
};

#define WINDOW(self) (&((struct accessors *)(self))->window)

enum { FAILED = -1, TAKEN = 0, REFUSED = 1 };

/* A method that says what is wrong has to raise; this lets the exception through, or makes one of its answer. */
static PyObject *must_raise(PyObject *answer, const char *method)
{
	if (answer) {
		Py_DECREF(answer);
		PyErr_Format(PyExc_SystemError, "%s() returned", method);
	}
	return NULL;
}

static PyObject *refuse(PyObject *self, PyObject *offset, int width, PyObject *value)
{
	return must_raise(PyObject_CallMethod(self, "_refuse", "OiO", offset, width, value ? value : Py_None), "_refuse");
}

static int take_signed(PyObject *object, int64_t *number)
{
	*number = PyLong_AsLongLong(object);
	if (*number != -1 || !PyErr_Occurred())
		return TAKEN;
	if (!PyErr_ExceptionMatches(PyExc_OverflowError))
		return FAILED;
	PyErr_Clear();
	return REFUSED;
}

/* Whatever is an integer by __index__ will do; REFUSED is one that needs more bits, or a sign. */
static int take_unsigned(PyObject *object, int bits, uint64_t *value)
{
	if (!PyLong_Check(object)) {
		PyObject *number = PyNumber_Index(object);
		int taken = number ? take_unsigned(number, bits, value) : FAILED;

		Py_XDECREF(number);
		return taken;
	}
	*value = PyLong_AsUnsignedLongLong(object);
	if (*value == UINT64_MAX && PyErr_Occurred()) {
		if (!PyErr_ExceptionMatches(PyExc_OverflowError))
			return FAILED;
		PyErr_Clear();
		return REFUSED;
	}
	return bits < 64 && *value >> bits ? REFUSED : TAKEN;
}

#define ACCESSORS(bits)                                                                                       \
	static PyObject *read##bits(PyObject *self, PyObject *at)                                             \
	{                                                                                                     \
		int64_t offset;                                                                               \
		int taken = take_signed(at, &offset);                                                         \
                                                                                                              \
		if (taken == FAILED)                                                                          \
			return NULL;                                                                          \
		if (taken == REFUSED || vfiokit_refused(WINDOW(self), offset, bits / 8))                      \
			return refuse(self, at, bits / 8, NULL);                                              \
		return PyLong_FromUnsignedLongLong(vfiokit_load##bits(WINDOW(self), offset));                 \
	}                                                                                                     \
	static PyObject *store##bits(PyObject *self, PyObject *const *words, Py_ssize_t count, int fence)     \
	{                                                                                                     \
		int64_t offset;                                                                               \
		uint64_t value;                                                                               \
		int at, what;                                                                                 \
                                                                                                              \
		if (count != 2)                                                                               \
			return PyErr_Format(PyExc_TypeError, "2 arguments are due, not %zd", count);          \
		at = take_signed(words[0], &offset);                                                          \
		what = at == FAILED ? FAILED : take_unsigned(words[1], bits, &value);                            \
		if (what == FAILED)                                                                           \
			return NULL;                                                                          \
		if (at == REFUSED || what == REFUSED || !WINDOW(self)->writable ||                            \
		    vfiokit_refused(WINDOW(self), offset, bits / 8))                                          \
			return refuse(self, words[0], bits / 8, words[1]);                                    \
		if (fence)                                                                                    \
			vfiokit_release_fence();                                                              \
		vfiokit_store##bits(WINDOW(self), offset, value);                                             \
		Py_RETURN_NONE;                                                                               \
	}                                                                                                     \
	static PyObject *write##bits(PyObject *self, PyObject *const *words, Py_ssize_t count)                \
	{                                                                                                     \
		return store##bits(self, words, count, 0);                                                    \
	}

#define DOORBELL(bits)                                                                                        \
	static PyObject *doorbell##bits(PyObject *self, PyObject *const *words, Py_ssize_t count)             \
	{                                                                                                     \
		return store##bits(self, words, count, 1);                                                    \
	}

ACCESSORS(8)
ACCESSORS(16)
ACCESSORS(32)
ACCESSORS(64)
DOORBELL(32)
DOORBELL(64)

static PyObject *address(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromVoidPtr(WINDOW(self));
}

static void dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	release(self);
	Py_DECREF(type);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef accessor_methods[] = {
	{"read8", read8, METH_O, PyDoc_STR("Read one byte by one 8-bit access.")},
	{"read16", read16, METH_O, PyDoc_STR("Read by one 16-bit access.")},
	{"read32", read32, METH_O, PyDoc_STR("Read by one 32-bit access.")},
	{"read64", read64, METH_O, PyDoc_STR("Read by one 64-bit access.")},
	{"write8", FAST(write8), METH_FASTCALL, PyDoc_STR("Write one byte by one 8-bit access.")},
	{"write16", FAST(write16), METH_FASTCALL, PyDoc_STR("Write by one 16-bit access.")},
	{"write32", FAST(write32), METH_FASTCALL, PyDoc_STR("Write by one 32-bit access.")},
	{"write64", FAST(write64), METH_FASTCALL, PyDoc_STR("Write by one 64-bit access.")},
	{"doorbell32", FAST(doorbell32), METH_FASTCALL, PyDoc_STR("Write by one 32-bit access, after a fence.")},
	{"doorbell64", FAST(doorbell64), METH_FASTCALL, PyDoc_STR("Write by one 64-bit access, after a fence.")},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef accessor_attributes[] = {
	{"address", address, NULL, PyDoc_STR("Where its struct vfiokit_window is, for cffi."), NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot accessor_slots[] = {
	{Py_tp_doc, (void *)PyDoc_STR("Accessors on a window; a subclass says in _refuse() what is wrong.")},
	{Py_tp_methods, accessor_methods},
	{Py_tp_getset, accessor_attributes},
	{Py_tp_dealloc, dealloc},
	{0, NULL},
};

static PyType_Spec accessor_type = {
	.name = "vfiokit._native._quick.Accessors",
	.basicsize = sizeof(struct accessors),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = accessor_slots,
};

/* ---- exchange, ask, tell: an ioctl with a structure of numbers ---- */

#define MOST_MEMBERS 16

struct member {
	size_t offset;
	int width, is_signed;
};

/* The letters are the struct module's. */
static int read_code(char code, struct member *member)
{
	member->is_signed = code == 'i' || code == 'q';
	switch (code) {
	case 'B': member->width = 1; return 0;
	case 'H': member->width = 2; return 0;
	case 'I': case 'i': member->width = 4; return 0;
	case 'Q': case 'q': member->width = 8; return 0;
	}
	PyErr_Format(PyExc_ValueError, "no member is coded '%c'", code);
	return -1;
}

static int store(uint8_t *raw, const struct member *member, PyObject *object)
{
	int bits = 8 * member->width, taken;
	uint64_t value;

	if (member->is_signed) {
		int64_t number;

		taken = take_signed(object, &number);
		if (bits < 64 && (number < -(INT64_C(1) << (bits - 1)) || number >= INT64_C(1) << (bits - 1)))
			taken = taken == FAILED ? FAILED : REFUSED;
		value = (uint64_t)number;
	} else {
		taken = take_unsigned(object, bits, &value);
	}
	if (taken == REFUSED)
		PyErr_Format(PyExc_OverflowError, "%R does not fit in %d bits", object, bits);
	if (taken != TAKEN)
		return -1;
	/* The structures are the machine's own: low bytes first on a little endian one, last on a big endian one. */
	switch (member->width) {
	case 1: *(uint8_t *)(raw + member->offset) = value; break;
	case 2: *(uint16_t *)(raw + member->offset) = value; break;
	case 4: *(uint32_t *)(raw + member->offset) = value; break;
	default: *(uint64_t *)(raw + member->offset) = value;
	}
	return 0;
}

static PyObject *load(const uint8_t *raw, const struct member *member)
{
	const uint8_t *at = raw + member->offset;

	switch (member->width) {
	case 1: return PyLong_FromLong(*at);
	case 2: return PyLong_FromLong(*(const uint16_t *)at);
	case 4:
		return member->is_signed ? PyLong_FromLong(*(const int32_t *)at) :
					   PyLong_FromUnsignedLong(*(const uint32_t *)at);
	default:
		return member->is_signed ? PyLong_FromLongLong(*(const int64_t *)at) :
					   PyLong_FromUnsignedLongLong(*(const uint64_t *)at);
	}
}

static int lay_out(PyObject *codes, struct member *members)
{
	char *letters;
	Py_ssize_t count;
	size_t offset = 0;

	if (PyBytes_AsStringAndSize(codes, &letters, &count) < 0)
		return -1;
	if (count > MOST_MEMBERS) {
		PyErr_Format(PyExc_ValueError, "%zd members are more than %d", count, MOST_MEMBERS);
		return -1;
	}
	for (Py_ssize_t i = 0; i < count; i++) {
		if (read_code(letters[i], &members[i]) < 0)
			return -1;
		members[i].offset = offset;
		if (offset % members[i].width) {
			PyErr_Format(PyExc_ValueError, "member %zd is not aligned", i);
			return -1;
		}
		offset += members[i].width;
	}
	return (int)count;
}

/* What is known of the calls, by name: a pair of request and codes, asked of the caller once. */
struct known {
	PyObject *shapes;
};

/* Return a borrowed pair. */
static PyObject *shape_of(PyObject *module, PyObject *calls, PyObject *name)
{
	struct known *known = PyModule_GetState(module);
	PyObject *shape = PyDict_GetItemWithError(known->shapes, name);

	if (shape || PyErr_Occurred())
		return shape;
	shape = PyObject_CallMethod(calls, "_describe", "O", name);
	if (shape && (!PyTuple_Check(shape) || PyTuple_Size(shape) != 2)) {
		PyErr_SetString(PyExc_TypeError, "_describe() is to return a request and codes");
		Py_CLEAR(shape);
	}
	if (shape && PyDict_SetItem(known->shapes, name, shape) < 0)
		Py_CLEAR(shape);
	/* The table holds it from now on. */
	Py_XDECREF(shape);
	return shape;
}

static PyObject *refused(PyObject *calls, PyObject *name, PyObject *fd, int error)
{
	return must_raise(PyObject_CallMethod(calls, "_refused", "OOi", name, fd, error), "_refused");
}

/*
 * Make a call: calls, name, fd, then the first members. Returns how many members there are, with their places and
 * contents, or -1 with an exception.
 */
static int make(PyObject *module, PyObject *calls, PyObject *name, PyObject *const *words, Py_ssize_t count,
		struct member *members, uint8_t *raw)
{
	static const struct member descriptor = {0, sizeof(int), 1};
	PyObject *shape = shape_of(module, calls, name);
	unsigned long request;
	int fd, number, answer, error;

	if (!shape)
		return -1;
	request = PyLong_AsUnsignedLong(PyTuple_GetItem(shape, 0));
	if (PyErr_Occurred() || store((uint8_t *)&fd, &descriptor, words[0]) < 0)
		return -1;
	number = lay_out(PyTuple_GetItem(shape, 1), members);
	if (number < 0)
		return -1;
	if (count - 1 > number) {
		PyErr_Format(PyExc_TypeError, "%zd members are more than %d", count - 1, number);
		return -1;
	}
	for (Py_ssize_t i = 1; i < count; i++)
		if (store(raw, &members[i - 1], words[i]) < 0)
			return -1;
	Py_BEGIN_ALLOW_THREADS
	do
		answer = ioctl(fd, request, raw);
	while (answer < 0 && errno == EINTR);
	error = errno;
	Py_END_ALLOW_THREADS
	if (answer < 0) {
		refused(calls, name, words[0], error);
		return -1;
	}
	return number;
}

static int too_few(Py_ssize_t count, Py_ssize_t due)
{
	if (count >= due)
		return 0;
	PyErr_Format(PyExc_TypeError, "at least %zd arguments are due, not %zd", due, count);
	return 1;
}

static PyObject *exchange(PyObject *module, PyObject *const *words, Py_ssize_t count)
{
	uint64_t raw[MOST_MEMBERS] = {0};
	struct member members[MOST_MEMBERS];
	PyObject *result;
	int number;

	if (too_few(count, 3))
		return NULL;
	number = make(module, words[0], words[1], words + 2, count - 2, members, (uint8_t *)raw);
	if (number < 0)
		return NULL;
	result = PyTuple_New(number);
	for (int i = 0; result && i < number; i++) {
		PyObject *value = load((uint8_t *)raw, &members[i]);

		if (!value || PyTuple_SetItem(result, i, value) < 0)
			Py_CLEAR(result);
	}
	return result;
}

static PyObject *ask(PyObject *module, PyObject *const *words, Py_ssize_t count)
{
	uint64_t raw[MOST_MEMBERS] = {0};
	struct member members[MOST_MEMBERS];
	Py_ssize_t wanted;
	int number;

	if (too_few(count, 4))
		return NULL;
	wanted = PyLong_AsSsize_t(words[2]);
	if (wanted == -1 && PyErr_Occurred())
		return NULL;
	number = make(module, words[0], words[1], words + 3, count - 3, members, (uint8_t *)raw);
	if (number < 0)
		return NULL;
	if (wanted < 0)
		wanted += number;
	if (wanted < 0 || wanted >= number) {
		PyErr_Format(PyExc_IndexError, "there is no member %R of %d", words[2], number);
		return NULL;
	}
	return load((uint8_t *)raw, &members[wanted]);
}

static PyObject *tell(PyObject *module, PyObject *const *words, Py_ssize_t count)
{
	uint64_t raw[MOST_MEMBERS] = {0};
	struct member members[MOST_MEMBERS];

	if (too_few(count, 3) ||
	    make(module, words[0], words[1], words + 2, count - 2, members, (uint8_t *)raw) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{"exchange", FAST(exchange), METH_FASTCALL,
	 PyDoc_STR("exchange(calls, name, fd, *members): make a call and return the structure's members.")},
	{"ask", FAST(ask), METH_FASTCALL,
	 PyDoc_STR("ask(calls, name, index, fd, *members): make a call and return one of the members.")},
	{"tell", FAST(tell), METH_FASTCALL, PyDoc_STR("tell(calls, name, fd, *members): make a call.")},
	{NULL, NULL, 0, NULL},
};

static int fill(PyObject *module)
{
	struct known *known = PyModule_GetState(module);
	PyObject *type = PyType_FromSpec(&accessor_type);
	int failed = type ? PyModule_AddObjectRef(module, "Accessors", type) : -1;

	Py_XDECREF(type);
	known->shapes = PyDict_New();
	return known->shapes ? failed : -1;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
	struct known *known = PyModule_GetState(module);

	Py_VISIT(known->shapes);
	return 0;
}

static int clear(PyObject *module)
{
	struct known *known = PyModule_GetState(module);

	Py_CLEAR(known->shapes);
	return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "vfiokit._native._quick",
	.m_doc = "Accesses to device memory, and ioctls of numbers, without cffi's cost.",
	.m_size = sizeof(struct known),
	.m_methods = functions,
	.m_slots = slots,
	.m_traverse = traverse,
	.m_clear = clear,
};

PyMODINIT_FUNC PyInit__quick(void)
{
	return PyModuleDef_Init(&definition);
}
