/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - BufferMemory: the bytes of a Buffer or StateValueBuffer, as an exporter of its own.
 *
 * A buffer is shown read-only to some and writable to others; each such view is one of these
 * objects, and memoryviews refer to it. It keeps the buffer, and with it the memory, alive, and
 * holds the read latch where one was asked for.
 */
#include "ds_py.h"

struct memory {
    PyObject_HEAD struct ds_py_buffer *owner;
    struct ds_buffer *shown; /* what ends the view at its owner */
    void *data;
    size_t size;
    bool writable;
    bool latched;
};

PyObject *ds_py_memory_new(struct ds_py_buffer *owner, bool writable, bool latched)
{
    struct memory *self;
    void *data;

    if (ds_py_buffer_enter(owner) < 0) {
        return NULL;
    }
    data = writable ? ds_buffer_mutable_data(owner->buffer)
                    : (void *)(uintptr_t)ds_buffer_data(owner->buffer);
    ds_py_buffer_leave(owner);
    if (data == NULL) {
        return ds_py_fail_read_only(owner);
    }
    self = PyObject_New(struct memory, owner->state->memory_type);
    if (self == NULL) {
        return NULL;
    }
    Py_INCREF(owner);
    self->owner = owner;
    self->shown = ds_py_buffer_export(owner, writable);
    self->data = data;
    self->size = ds_buffer_size(owner->buffer);
    self->writable = writable;
    self->latched = latched;
    return (PyObject *)self;
}

/* Nobody can be told of a failure here: the latch then ends with the buffer. */
static void memory_unlatch(struct ds_py_buffer *owner)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (ds_py_buffer_enter(owner) < 0) {
        PyErr_WriteUnraisable((PyObject *)owner);
    } else {
        PyThreadState *thread = PyEval_SaveThread();
        (void)!ds_buffer_unlatch_read(owner->buffer);
        PyEval_RestoreThread(thread);
        ds_py_buffer_leave(owner);
    }
    PyErr_Restore(type, value, traceback);
}

static void memory_dealloc(PyObject *object)
{
    struct memory *self = (struct memory *)object;
    PyTypeObject *type = Py_TYPE(object);

    if (self->latched) {
        memory_unlatch(self->owner);
    }
    ds_py_buffer_unexport(self->owner, self->shown, self->writable);
    Py_DECREF(self->owner);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int memory_getbuffer(PyObject *object, Py_buffer *ret, int flags)
{
    struct memory *self = (struct memory *)object;

    return PyBuffer_FillInfo(ret, object, self->data, (Py_ssize_t)self->size,
                             self->writable ? 0 : 1, flags);
}

static Py_ssize_t memory_length(PyObject *object)
{
    return (Py_ssize_t)((struct memory *)object)->size;
}

static PyObject *memory_get_size(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(((struct memory *)object)->size);
}

static PyMethodDef memory_methods[] = {
    {"GetSize", memory_get_size, METH_NOARGS, "GetSize($self, /)\n--\n\nSize in bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_dealloc, memory_dealloc},
    {Py_tp_methods, memory_methods},
    {Py_bf_getbuffer, memory_getbuffer},
    {Py_sq_length, memory_length},
    {Py_tp_doc, "The bytes of a buffer; offers the buffer protocol."},
    {0, NULL},
};

PyType_Spec ds_py_memory_spec = {
    .name = "yr.datasystem._ds.BufferMemory",
    .basicsize = sizeof(struct memory),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = memory_slots,
};
