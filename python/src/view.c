/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c - ReadOnlyBuffer: a value in shared memory, pinned as long as the object lives.
 *
 * A memoryview, a numpy array or anything else that took the buffer holds a reference on the
 * object, so the pin outlives all of them. An object of the key-value interface never changes once
 * it is visible: the pin is the read latch, and the latch calls have nothing left to do.
 *
 * Gets make and drop these objects at a high rate: freed ones are kept in a pool.
 */
#include "ds_py.h"

static struct ds_py_view *view_alloc(struct ds_py_state *state)
{
    struct ds_py_view *self = state->pool;

    if (self == NULL) {
        return PyObject_New(struct ds_py_view, state->view_type);
    }
    state->pool = self->u.next;
    state->pool_size--;
    (void)PyObject_Init((PyObject *)self, state->view_type);
    return self;
}

PyObject *ds_py_view_new(struct ds_py_state *state, struct ds_view *view, size_t offset,
                         size_t size)
{
    struct ds_py_view *self = view_alloc(state);

    if (self == NULL) {
        ds_view_release(view);
        return NULL;
    }
    self->u.view = *view;
    self->data = size > 0 ? (const char *)view->data + offset : (const void *)"";
    self->size = size;
    self->exports = 0;
    self->released = false;
    return (PyObject *)self;
}

static void view_release_pin(struct ds_py_view *self)
{
    if (!self->released) {
        self->released = true;
        ds_view_release(&self->u.view);
    }
}

/* NULL where the interpreter ends and the module is gone. */
static struct ds_py_state *state_if_alive(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;

    return module != NULL ? PyModule_GetState(module) : NULL;
}

static void view_dealloc(PyObject *object)
{
    struct ds_py_view *self = (struct ds_py_view *)object;
    PyTypeObject *type = Py_TYPE(object);
    struct ds_py_state *state = state_if_alive(type);

    view_release_pin(self);
    if (state != NULL && state->pool_size < DS_PY_VIEW_POOL) {
        self->u.next = state->pool;
        state->pool = self;
        state->pool_size++;
    } else {
        PyObject_Free(self);
    }
    Py_DECREF(type);
}

void ds_py_view_pool_clear(struct ds_py_state *state)
{
    while (state->pool != NULL) {
        struct ds_py_view *self = state->pool;

        state->pool = self->u.next;
        PyObject_Free(self);
    }
    state->pool_size = DS_PY_VIEW_POOL; /* what is freed from now on stays out */
}

/* NULL with an exception after release(). */
static struct ds_py_view *view_check(PyObject *object)
{
    struct ds_py_view *self = (struct ds_py_view *)object;

    if (self->released) {
        return ds_py_fail(PyType_GetModuleState(Py_TYPE(object)), DS_ESTALE, NULL,
                          "The buffer was released");
    }
    return self;
}

/* --- buffer protocol --- */

static int view_getbuffer(PyObject *object, Py_buffer *ret, int flags)
{
    struct ds_py_view *self = (struct ds_py_view *)object;

    ret->obj = NULL;
    if (self->released) {
        PyErr_SetString(PyExc_BufferError, "The buffer was released");
        return -1;
    }
    if (PyBuffer_FillInfo(ret, object, (void *)(uintptr_t)self->data, (Py_ssize_t)self->size, 1,
                          flags) < 0) {
        return -1;
    }
    self->exports++;
    return 0;
}

static void view_releasebuffer(PyObject *object, Py_buffer *buffer)
{
    (void)buffer;
    ((struct ds_py_view *)object)->exports--;
}

static Py_ssize_t view_length(PyObject *object)
{
    return (Py_ssize_t)((struct ds_py_view *)object)->size;
}

/* --- methods --- */

static PyObject *view_get_size(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(((struct ds_py_view *)object)->size);
}

static int parse_timeout_sec(PyObject *object, PyObject *timeout)
{
    int64_t timeout_s = 60;

    return ds_py_int(PyType_GetModuleState(Py_TYPE(object)), timeout, "timeout_sec", 1, INT32_MAX,
                     &timeout_s);
}

static PyObject *view_immutable_data(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "immutable_data", 0, 2, {"with_latch", "timeout_sec", NULL}};
    PyObject *parsed[2];
    bool with_latch = false;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_bool(parsed[0], "with_latch", &with_latch) < 0 ||
        parse_timeout_sec(object, parsed[1]) < 0 || view_check(object) == NULL) {
        return NULL;
    }
    return PyMemoryView_FromObject(object);
}

static PyObject *view_rlatch(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"rlatch", 0, 1, {"timeout_sec", NULL}};
    PyObject *parsed[1];

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        parse_timeout_sec(object, parsed[0]) < 0 || view_check(object) == NULL) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *view_unrlatch(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (view_check(object) == NULL) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *view_release(PyObject *object, PyObject *unused)
{
    struct ds_py_view *self = (struct ds_py_view *)object;

    (void)unused;
    if (self->exports > 0) {
        PyErr_Format(PyExc_BufferError, "The buffer is in use by %zd memoryviews", self->exports);
        return NULL;
    }
    view_release_pin(self);
    Py_RETURN_NONE;
}

static PyObject *view_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (view_check(object) == NULL) {
        return NULL;
    }
    Py_INCREF(object);
    return object;
}

static PyObject *view_exit(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return view_release(object, NULL);
}

static PyMethodDef view_methods[] = {
    {"immutable_data", DS_PY_METHOD(view_immutable_data), DS_PY_FAST,
     "immutable_data($self, with_latch=False, timeout_sec=60)\n--\n\n"
     "A read-only memoryview of the value, without copying."},
    {"rlatch", DS_PY_METHOD(view_rlatch), DS_PY_FAST,
     "rlatch($self, timeout_sec=60)\n--\n\nThe value cannot change: granted at once."},
    {"unrlatch", view_unrlatch, METH_NOARGS, "unrlatch($self, /)\n--\n\nEnds rlatch()."},
    {"release", view_release, METH_NOARGS,
     "release($self, /)\n--\n\n"
     "Gives the memory back now instead of with the last reference.\n"
     "BufferError while memoryviews or arrays use it."},
    {"GetSize", view_get_size, METH_NOARGS, "GetSize($self, /)\n--\n\nSize in bytes."},
    {"__enter__", view_enter, METH_NOARGS, NULL},
    {"__exit__", DS_PY_METHOD(view_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_methods, view_methods},
    {Py_bf_getbuffer, view_getbuffer},
    {Py_bf_releasebuffer, view_releasebuffer},
    {Py_sq_length, view_length},
    {Py_tp_doc, "A value read in place. Offers the buffer protocol: memoryview(b),\n"
                "numpy.frombuffer(b, dtype) and the like see the shared memory itself.\n"
                "The bytes stay as they are, whatever happens to the key, as long as the\n"
                "object or anything made from it lives."},
    {0, NULL},
};

PyType_Spec ds_py_view_spec = {
    .name = "yr.datasystem.kv_client.ReadOnlyBuffer",
    .basicsize = sizeof(struct ds_py_view),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = view_slots,
};
