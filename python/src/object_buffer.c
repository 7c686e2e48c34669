/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_buffer.c - Buffer: an object made by ObjectClient.create() or found by ObjectClient.get().
 */
#include "ds_py.h"

static struct ds_py_buffer *as_buffer(PyObject *object)
{
    return (struct ds_py_buffer *)object;
}

/* Buffer() is a buffer of nothing: every call on it says so. */
static PyObject *buffer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct ds_py_state *state = ds_py_state_of(type);
    struct ds_py_buffer *self;

    if (state == NULL) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(args) > 0 || kwargs != NULL) {
        PyErr_SetString(PyExc_TypeError, "Buffer() takes no arguments");
        return NULL;
    }
    self = as_buffer(ds_py_buffer_new(state, type, NULL, NULL, 0));
    if (self != NULL) {
        self->placeholder = false;
    }
    return (PyObject *)self;
}

/* --- latches --- */

static PyObject *take_latch(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames, bool write)
{
    static const struct ds_py_signature signatures[] = {
        {"rlatch", 0, 1, {"timeout_sec", NULL}},
        {"wlatch", 0, 1, {"timeout_sec", NULL}},
    };
    struct ds_py_buffer *self = as_buffer(object);
    PyObject *parsed[1];
    int64_t timeout_s = 60;
    int rc;

    if (ds_py_parse(&signatures[write], args, nargs, kwnames, parsed) < 0 ||
        ds_py_int(self->state, parsed[0], "timeout_sec", 1, INT32_MAX, &timeout_s) < 0 ||
        ds_py_buffer_latch(self, write, timeout_s * 1000, &rc) < 0) {
        return NULL;
    }
    if (rc == DS_ETIMEOUT) {
        return ds_py_fail_hint(self->state, rc, self->key, DS_PY_HINT_LATCH,
                               "Cannot %s-latch key %R within %lld s", write ? "write" : "read",
                               self->key, (long long)timeout_s);
    }
    if (rc < 0) {
        return ds_py_fail_call(self->state, rc, self->key, write ? "write-latch" : "read-latch");
    }
    Py_RETURN_NONE;
}

static PyObject *rlatch(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    return take_latch(object, args, nargs, kwnames, false);
}

static PyObject *wlatch(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    return take_latch(object, args, nargs, kwnames, true);
}

/* A call that takes nothing but the buffer. */
static PyObject *simple_call(PyObject *object, int (*call)(struct ds_buffer *), const char *what)
{
    struct ds_py_buffer *self = as_buffer(object);
    struct ds_py_wait wait;
    int rc;

    if (ds_py_buffer_enter(self) < 0) {
        return NULL;
    }
    ds_py_wait_begin(NULL, &wait);
    rc = ds_py_wait_end(&wait, call(self->buffer));
    ds_py_buffer_leave(self);
    if (rc == DS_ENOTINUSE) {
        return ds_py_fail_hint(self->state, rc, self->key, "take it first",
                               "Cannot %s key %R: it is not held through this buffer", what,
                               self->key);
    }
    if (rc < 0) {
        return ds_py_fail_call(self->state, rc, self->key, what);
    }
    Py_RETURN_NONE;
}

static PyObject *unrlatch(PyObject *object, PyObject *unused)
{
    (void)unused;
    return simple_call(object, ds_buffer_unlatch_read, "give back the read latch of");
}

static PyObject *unwlatch(PyObject *object, PyObject *unused)
{
    (void)unused;
    return simple_call(object, ds_buffer_unlatch_write, "give back the write latch of");
}

static PyObject *invalidate_buffer(PyObject *object, PyObject *unused)
{
    (void)unused;
    return simple_call(object, ds_buffer_invalidate, "invalidate");
}

/* --- bytes --- */

static PyObject *mutable_data(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ds_py_buffer_view(as_buffer(object), true);
}

static PyObject *immutable_data(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ds_py_buffer_view(as_buffer(object), false);
}

static PyObject *get_size(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (ds_py_buffer_enter(as_buffer(object)) < 0) {
        return NULL;
    }
    ds_py_buffer_leave(as_buffer(object));
    return PyLong_FromSsize_t(ds_py_buffer_length(object));
}

static int write_value(struct ds_py_buffer *self, const struct ds_bytes *value)
{
    size_t capacity;
    int rc;

    if (value->size == 0) {
        ds_py_fail(self->state, DS_EINVAL, self->key,
                   "The dataSize value should be bigger than zero.");
        return -1;
    }
    if (ds_py_buffer_enter(self) < 0) {
        return -1;
    }
    capacity = ds_buffer_size(self->buffer);
    if (value->size < DS_PY_COPY_UNLOCKED) {
        rc = ds_buffer_write(self->buffer, value->data, value->size);
    } else {
        PyThreadState *thread = PyEval_SaveThread();
        rc = ds_buffer_write(self->buffer, value->data, value->size);
        PyEval_RestoreThread(thread);
    }
    ds_py_buffer_leave(self);
    if (rc == DS_ERANGE) {
        ds_py_fail(self->state, rc, self->key, "%zu bytes do not fit into a buffer of %zu",
                   value->size, capacity);
    } else if (rc == DS_ESEALED || rc == DS_EINVAL) {
        ds_py_fail_read_only(self);
    } else if (rc < 0) {
        ds_py_fail_call(self->state, rc, self->key, "write to the buffer of");
    }
    return rc < 0 ? -1 : 0;
}

static PyObject *memory_copy(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"memory_copy", 1, 1, {"value", NULL}};
    struct ds_bytes value;
    struct ds_py_held held;
    PyObject *parsed[1];
    int rc;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_hold(parsed[0], "value", &value, &held) < 0) {
        return NULL;
    }
    rc = write_value(as_buffer(object), &value);
    ds_py_unhold(&held);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- publish, seal --- */

typedef int announce_fn(struct ds_buffer *buffer, const struct ds_bytes *nested, size_t n_nested);

/* Nesting in itself is the only thing that libds finds wrong with keys that are legal. */
static bool nests_itself(const struct ds_py_keys *nested, PyObject *key)
{
    for (size_t i = 0; key != NULL && i < nested->n; i++) {
        if (PyUnicode_Check(key) && PyUnicode_Compare(nested->objects[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static PyObject *announce(PyObject *object, PyObject *nested, announce_fn *call, const char *what)
{
    struct ds_py_buffer *self = as_buffer(object);
    struct ds_py_keys keys;
    bool itself;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_nested_get(self->state, nested, &keys) < 0) {
        return NULL;
    }
    if (ds_py_buffer_enter(self) < 0) {
        ds_py_keys_release(&keys);
        return NULL;
    }
    ds_py_wait_begin(NULL, &wait);
    rc = ds_py_wait_end(&wait, call(self->buffer, keys.keys, keys.n));
    ds_py_buffer_leave(self);
    itself = nests_itself(&keys, self->key);
    ds_py_keys_release(&keys);
    if (rc == DS_EINVAL && itself) {
        return ds_py_fail(self->state, rc, self->key, DS_PY_NESTS_ITSELF, self->key);
    }
    if (rc < 0) {
        return ds_py_fail_call(self->state, rc, self->key, what);
    }
    Py_RETURN_NONE;
}

static PyObject *publish(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"publish", 0, 1, {"nested_object_keys", NULL}};
    PyObject *parsed[1];

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0) {
        return NULL;
    }
    return announce(object, parsed[0], ds_buffer_publish, "publish");
}

static PyObject *seal(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"seal", 0, 1, {"nested_object_keys", NULL}};
    PyObject *parsed[1];

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0) {
        return NULL;
    }
    return announce(object, parsed[0], ds_buffer_seal, "seal");
}

static PyMethodDef methods[] = {
    {"wlatch", DS_PY_METHOD(wlatch), DS_PY_FAST,
     "wlatch($self, timeout_sec=60)\n--\n\nTakes the write latch; not re-entrant."},
    {"unwlatch", unwlatch, METH_NOARGS, "unwlatch($self, /)\n--\n\nGives it back."},
    {"rlatch", DS_PY_METHOD(rlatch), DS_PY_FAST,
     "rlatch($self, timeout_sec=60)\n--\n\nTakes a read latch."},
    {"unrlatch", unrlatch, METH_NOARGS, "unrlatch($self, /)\n--\n\nGives it back."},
    {"mutable_data", mutable_data, METH_NOARGS,
     "mutable_data($self, /)\n--\n\n"
     "A writable memoryview of the object's memory: the object may change until it is sealed.\n"
     "After seal() do not write through one: it still reaches the object."},
    {"immutable_data", immutable_data, METH_NOARGS,
     "immutable_data($self, /)\n--\n\nA read-only memoryview of the object's memory."},
    {"memory_copy", DS_PY_METHOD(memory_copy), DS_PY_FAST,
     "memory_copy($self, value)\n--\n\nCopies the value to the front of the buffer."},
    {"publish", DS_PY_METHOD(publish), DS_PY_FAST,
     "publish($self, nested_object_keys=None)\n--\n\n"
     "Makes the object visible, or announces a change of it."},
    {"seal", DS_PY_METHOD(seal), DS_PY_FAST,
     "seal($self, nested_object_keys=None)\n--\n\nPublishes it for good."},
    {"invalidate_buffer", invalidate_buffer, METH_NOARGS,
     "invalidate_buffer($self, /)\n--\n\nDrops this node's copy."},
    {"get_size", get_size, METH_NOARGS, "get_size($self, /)\n--\n\nSize in bytes."},
    {"release", ds_py_buffer_release, METH_NOARGS,
     "release($self, /)\n--\n\nGives the memory back now; what was not published is dropped."},
    {"__enter__", ds_py_buffer_with, METH_NOARGS, NULL},
    {"__exit__", DS_PY_METHOD(ds_py_buffer_end_with), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, buffer_new},
    {Py_tp_dealloc, ds_py_buffer_dealloc},
    {Py_tp_methods, methods},
    {Py_bf_getbuffer, ds_py_buffer_getbuffer},
    {Py_bf_releasebuffer, ds_py_buffer_releasebuffer},
    {Py_sq_length, ds_py_buffer_length},
    {Py_tp_doc, "Buffer()\n--\n\n"
                "An object in shared memory: written in place, then published or sealed.\n"
                "The buffer protocol shows it read-only; mutable_data() is for writing."},
    {0, NULL},
};

PyType_Spec ds_py_buffer_spec = {
    .name = "yr.datasystem.object_client.Buffer",
    .basicsize = sizeof(struct ds_py_buffer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
