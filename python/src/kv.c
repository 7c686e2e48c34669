/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.c - the type KV, base of KVClient: the key-value calls over a Connection.
 */
#include "ds_py.h"

static PyObject *kv_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct ds_py_state *state = ds_py_state_of(type);
    struct ds_py_kv *self;

    (void)args;
    (void)kwargs;
    if (state == NULL) {
        return NULL;
    }
    self = (struct ds_py_kv *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
    }
    return (PyObject *)self;
}

static void kv_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_CLEAR(((struct ds_py_kv *)object)->connection);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *kv_attach(PyObject *object, PyObject *connection)
{
    struct ds_py_kv *self = (struct ds_py_kv *)object;

    if (connection == Py_None) {
        Py_CLEAR(self->connection);
        Py_RETURN_NONE;
    }
    if (Py_TYPE(connection) != self->state->connection_type) {
        (void)ds_py_bad_type("connection", "[<class 'Connection'>]");
        return NULL;
    }
    Py_INCREF(connection);
    Py_XSETREF(self->connection, (struct ds_py_connection *)connection);
    Py_RETURN_NONE;
}

static PyMethodDef kv_methods[] = {
    {"_attach", kv_attach, METH_O, "Calls go through this Connection; None: through none."},
    {"_set", DS_PY_METHOD(ds_py_kv_set), METH_FASTCALL, NULL},
    {"_mset", DS_PY_METHOD(ds_py_kv_mset), METH_FASTCALL, NULL},
    {"_mset_told", DS_PY_METHOD(ds_py_kv_mset_told), METH_FASTCALL, NULL},
    {"_mcreate", DS_PY_METHOD(ds_py_kv_mcreate), METH_FASTCALL, NULL},
    {"mset_buffer", DS_PY_METHOD(ds_py_kv_mset_buffer), DS_PY_FAST,
     "mset_buffer($self, buffers)\n--\n\n"
     "Makes the values of mcreate() visible. RuntimeError if one of them fails."},
    {"get", DS_PY_METHOD(ds_py_kv_get), DS_PY_FAST,
     "get($self, keys=None, convert_to_str=False, sub_timeout_ms=0)\n--\n\n"
     "Copies of the values, as bytes or str; None for a missing key.\n"
     "Waits for missing keys up to sub_timeout_ms. RuntimeError if all are missing."},
    {"get_buffers", DS_PY_METHOD(ds_py_kv_get_buffers), DS_PY_FAST,
     "get_buffers($self, keys, timeout_ms=0)\n--\n\n"
     "The values in place: a ReadOnlyBuffer for each key, None for a missing one.\n"
     "Waits for missing keys up to timeout_ms. RuntimeError if all are missing."},
    {"get_read_only_buffers", DS_PY_METHOD(ds_py_kv_get_read_only_buffers), DS_PY_FAST,
     "get_read_only_buffers($self, keys=None, timeout_ms=0)\n--\n\nAs get_buffers()."},
    {"read", DS_PY_METHOD(ds_py_kv_read), DS_PY_FAST,
     "read($self, read_params)\n--\n\n"
     "Parts of values in place: a ReadOnlyBuffer for each ReadParam, None for a missing one.\n"
     "A size of 0 reads to the end; RuntimeError if there is none at all."},
    {"delete", DS_PY_METHOD(ds_py_kv_delete), DS_PY_FAST,
     "delete($self, keys=None)\n--\n\n"
     "The keys where that failed; a key that does not exist counts as deleted."},
    {"exist", DS_PY_METHOD(ds_py_kv_exist), DS_PY_FAST,
     "exist($self, keys)\n--\n\nA bool for each key; up to 100000 keys."},
    {"expire", DS_PY_METHOD(ds_py_kv_expire), DS_PY_FAST,
     "expire($self, keys, ttl_second, *, ttl_ms=None)\n--\n\n"
     "Lets the keys end so long from now; 0: never. The keys where that failed;\n"
     "RuntimeError if it failed for all."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot kv_slots[] = {
    {Py_tp_new, kv_new},
    {Py_tp_dealloc, kv_dealloc},
    {Py_tp_methods, kv_methods},
    {Py_tp_doc, "The calls of KVClient."},
    {0, NULL},
};

PyType_Spec ds_py_kv_spec = {
    .name = "yr.datasystem._ds.KV",
    .basicsize = sizeof(struct ds_py_kv),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = kv_slots,
};
