/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value_buffer.c - StateValueBuffer: a value that is written in place between KVClient.mcreate()
 * and KVClient.mset_buffer(). The method names are the original's.
 */
#include "ds_py.h"

static struct ds_py_buffer *as_buffer(PyObject *object)
{
    return (struct ds_py_buffer *)object;
}

static PyObject *mutable_data(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ds_py_buffer_view(as_buffer(object), true);
}

static PyObject *get_size(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(ds_py_buffer_length(object));
}

static int parse_timeout_ms(struct ds_py_buffer *self, PyObject *timeout, int64_t *ret_ms)
{
    int64_t timeout_s = 60;

    if (ds_py_int(self->state, timeout, "timeout_sec", 1, INT32_MAX, &timeout_s) < 0) {
        return -1;
    }
    *ret_ms = timeout_s * 1000;
    return 0;
}

static PyObject *rlatch(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"RLatch", 0, 1, {"timeout_sec", NULL}};
    struct ds_py_buffer *self = as_buffer(object);
    PyObject *parsed[1];
    int64_t timeout_ms;
    int rc;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        parse_timeout_ms(self, parsed[0], &timeout_ms) < 0 ||
        ds_py_buffer_latch(self, false, timeout_ms, &rc) < 0) {
        return NULL;
    }
    return ds_py_status(self->state, rc, rc < 0 ? "Cannot latch the buffer" : "");
}

static PyObject *unrlatch(PyObject *object, PyObject *unused)
{
    struct ds_py_buffer *self = as_buffer(object);
    struct ds_py_wait wait;
    int rc;

    (void)unused;
    if (ds_py_buffer_enter(self) < 0) {
        return NULL;
    }
    ds_py_wait_begin(NULL, &wait);
    rc = ds_py_wait_end(&wait, ds_buffer_unlatch_read(self->buffer));
    ds_py_buffer_leave(self);
    return ds_py_status(self->state, rc, rc < 0 ? "Cannot give back the latch" : "");
}

static PyObject *immutable_data(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "ImmutableData", 0, 2, {"with_latch", "timeout_sec", NULL}};
    struct ds_py_buffer *self = as_buffer(object);
    PyObject *parsed[2], *memory;
    bool with_latch = false;
    int64_t timeout_ms;
    int rc = 0;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_bool(parsed[0], "with_latch", &with_latch) < 0 ||
        parse_timeout_ms(self, parsed[1], &timeout_ms) < 0) {
        return NULL;
    }
    if (with_latch && ds_py_buffer_latch(self, false, timeout_ms, &rc) < 0) {
        return NULL;
    }
    if (rc < 0) {
        return ds_py_fail_hint(self->state, rc, self->key,
                               rc == DS_ETIMEOUT ? DS_PY_HINT_LATCH : NULL, "Cannot latch key %R",
                               self->key);
    }
    memory = ds_py_memory_new(self, false, with_latch);
    if (memory == NULL && with_latch) {
        (void)!ds_buffer_unlatch_read(self->buffer);
    }
    return memory;
}

static PyMethodDef methods[] = {
    {"MutableData", mutable_data, METH_NOARGS,
     "MutableData($self, /)\n--\n\n"
     "A writable memoryview. What is written through it after mset_buffer() no\n"
     "longer reaches the value; one that is still alive then costs a copy."},
    {"GetSize", get_size, METH_NOARGS,
     "GetSize($self, /)\n--\n\n"
     "Size in bytes; 0 where the key existed and was not to be replaced."},
    {"RLatch", DS_PY_METHOD(rlatch), DS_PY_FAST,
     "RLatch($self, timeout_sec=60)\n--\n\nTakes a read latch; a Status."},
    {"UnRLatch", unrlatch, METH_NOARGS, "UnRLatch($self, /)\n--\n\nGives it back; a Status."},
    {"ImmutableData", DS_PY_METHOD(immutable_data), DS_PY_FAST,
     "ImmutableData($self, with_latch=False, timeout_sec=60)\n--\n\n"
     "The bytes, read-only; the latch is held as long as the result lives."},
    {"release", ds_py_buffer_release, METH_NOARGS,
     "release($self, /)\n--\n\nGives the memory back now; what was not published is dropped."},
    {"__enter__", ds_py_buffer_with, METH_NOARGS, NULL},
    {"__exit__", DS_PY_METHOD(ds_py_buffer_end_with), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, ds_py_buffer_dealloc},
    {Py_tp_methods, methods},
    {Py_bf_getbuffer, ds_py_buffer_getbuffer},
    {Py_bf_releasebuffer, ds_py_buffer_releasebuffer},
    {Py_sq_length, ds_py_buffer_length},
    {Py_tp_doc, "A value written in place: made by KVClient.mcreate(), filled through\n"
                "MutableData(), made visible by KVClient.mset_buffer()."},
    {0, NULL},
};

PyType_Spec ds_py_value_buffer_spec = {
    .name = "yr.datasystem.kv_client.StateValueBuffer",
    .basicsize = sizeof(struct ds_py_buffer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
