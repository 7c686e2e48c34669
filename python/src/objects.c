/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.c - the calls of ObjectClient: create, put, get, global references.
 */
#include "ds_py.h"

#include <string.h>

struct objects {
    PyObject_HEAD struct ds_py_state *state;
    struct ds_py_connection *connection; /* NULL before init */
};

static struct objects *as_objects(PyObject *object)
{
    return (struct objects *)object;
}

/* --- create, put --- */

/* param: None or a dict that has "consistency_type". */
static int parse_param(struct ds_py_state *state, PyObject *param, struct ds_create_options *ret)
{
    int consistency = 0;
    int cache = 0;
    PyObject *value;

    memset(ret, 0, sizeof(*ret));
    if (param == NULL || param == Py_None) {
        return 0;
    }
    if (!PyDict_CheckExact(param)) {
        return ds_py_bad_type("param", "[<class 'dict'>]");
    }
    value = PyDict_GetItemString(param, "consistency_type");
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "The key 'consistency_type' of the input param does not exist");
        return -1;
    }
    if (ds_py_member(value, "consistency_type", state->consistency_types, 2, &consistency) < 0 ||
        ds_py_member(PyDict_GetItemString(param, "cache_type"), "cache_type", state->cache_types, 2,
                     &cache) < 0) {
        return -1;
    }
    ret->consistency = (enum ds_consistency)consistency;
    ret->cache_type = (enum ds_cache_type)cache;
    return 0;
}

/* A single key is exactly a str. */
static int parse_key(struct ds_py_state *state, PyObject *object, struct ds_bytes *ret)
{
    if (!PyUnicode_CheckExact(object)) {
        return ds_py_bad_type("object_key", "[<class 'str'>]");
    }
    return ds_py_key(state, object, ret);
}

static PyObject *create_buffer(struct objects *self, PyObject *key_object,
                               const struct ds_bytes *key, size_t size,
                               const struct ds_create_options *options)
{
    struct ds_py_call call;
    struct ds_buffer *buffer = NULL;
    PyObject *result = NULL;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = ds_object_create(call.client, key->data, key->size, size, options, &buffer);
    rc = ds_py_wait_end(&wait, rc);
    if (rc < 0) {
        ds_py_buffer_give(buffer);
        ds_py_fail(self->state, rc, key_object, "Cannot create %zu bytes for key %R", size,
                   key_object);
    } else {
        result = ds_py_buffer_new(self->state, self->state->buffer_type, buffer, key_object,
                                  call.connection->id);
    }
    ds_py_call_end(&call);
    return result;
}

static PyObject *objects_create(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "create", 2, 3, {"object_key", "size", "param", NULL}};
    struct objects *self = as_objects(object);
    struct ds_create_options options;
    struct ds_bytes key;
    PyObject *parsed[3];
    int64_t size = 0;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_int(self->state, parsed[1], "size", 0, INT64_MAX, &size) < 0 ||
        parse_param(self->state, parsed[2], &options) < 0 ||
        parse_key(self->state, parsed[0], &key) < 0) {
        return NULL;
    }
    if (size == 0) {
        return ds_py_fail(self->state, DS_EINVAL, parsed[0],
                          "The dataSize value should be bigger than zero.");
    }
    return create_buffer(self, parsed[0], &key, (size_t)size, &options);
}

struct put {
    PyObject *key_object;
    struct ds_bytes key;
    struct ds_bytes value;
    struct ds_create_options options;
    struct ds_py_keys nested;
};

static PyObject *put_value(struct objects *self, const struct put *put)
{
    struct ds_py_call call;
    struct ds_py_wait wait;
    int rc;

    if (put->value.size == 0) {
        return ds_py_fail(self->state, DS_EINVAL, put->key_object,
                          "The dataSize value should be bigger than zero.");
    }
    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = ds_object_put(call.client, put->key.data, put->key.size, put->value.data, put->value.size,
                       &put->options, put->nested.keys, put->nested.n);
    rc = ds_py_wait_end(&wait, rc);
    ds_py_call_end(&call);
    if (rc == DS_EINVAL && put->nested.n > 0) { /* all else was looked at above */
        return ds_py_fail(self->state, rc, put->key_object, DS_PY_NESTS_ITSELF, put->key_object);
    }
    if (rc < 0) {
        return ds_py_fail(self->state, rc, put->key_object, "Cannot put %zu bytes to key %R",
                          put->value.size, put->key_object);
    }
    Py_RETURN_NONE;
}

static PyObject *objects_put(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "put", 2, 4, {"object_key", "value", "param", "nested_object_keys", NULL}};
    struct objects *self = as_objects(object);
    struct ds_py_held held;
    PyObject *parsed[4], *result = NULL;
    struct put put;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        parse_param(self->state, parsed[2], &put.options) < 0 ||
        parse_key(self->state, parsed[0], &put.key) < 0 ||
        ds_py_hold(parsed[1], "value", &put.value, &held) < 0) {
        return NULL;
    }
    put.key_object = parsed[0];
    if (ds_py_nested_get(self->state, parsed[3], &put.nested) == 0) {
        result = put_value(self, &put);
        ds_py_keys_release(&put.nested);
    }
    ds_py_unhold(&held);
    return result;
}

/* --- get --- */

struct get {
    const struct ds_py_keys *keys;
    struct ds_buffer **buffers;
    PyObject *result; /* a Buffer or None for each */
    size_t failed;    /* index of the failure to report */
    int failure;      /* 0: none yet */
    bool found;
};

static int get_init(const struct ds_py_keys *keys, struct get *get)
{
    memset(get, 0, sizeof(*get));
    get->keys = keys;
    get->buffers = PyMem_Calloc(keys->n, sizeof(struct ds_buffer *));
    if (get->buffers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    get->result = PyList_New((Py_ssize_t)keys->n);
    if (get->result == NULL) {
        PyMem_Free(get->buffers);
        return -1;
    }
    for (size_t i = 0; i < keys->n; i++) {
        Py_INCREF(Py_None);
        PyList_SET_ITEM(get->result, (Py_ssize_t)i, Py_None);
    }
    return 0;
}

/* As missing_deliver() in kv_read.c. */
static int get_deliver(const struct ds_py_call *call, struct get *get)
{
    const struct ds_py_keys *keys = get->keys;
    int rc = 0;

    for (size_t i = 0; i < keys->n; i++) {
        int result = keys->results[i];

        if (result == 0 && rc < 0) {
            ds_py_buffer_give(get->buffers[i]);
        } else if (result == 0) {
            PyObject *item =
                ds_py_buffer_new(call->state, call->state->buffer_type, get->buffers[i],
                                 keys->objects[i], call->connection->id);

            rc = item == NULL ? -1 : PyList_SetItem(get->result, (Py_ssize_t)i, item);
            get->found = true;
        } else if (get->failure == 0 || (get->failure == DS_ENOTFOUND && result != DS_ENOTFOUND)) {
            get->failure = result;
            get->failed = i;
        }
    }
    return rc;
}

static int get_fetch(const struct ds_py_call *call, int64_t timeout_ms, struct get *get)
{
    const struct ds_py_keys *keys = get->keys;
    struct ds_py_wait wait;
    int rc;

    ds_py_wait_begin(call->connection, &wait);
    rc = ds_object_get(call->client, keys->keys, keys->n, timeout_ms, get->buffers, keys->results);
    rc = ds_py_wait_end(&wait, rc);
    (void)rc; /* the first result, which is looked at below */
    if (PyErr_Occurred() != NULL) {
        for (size_t i = 0; i < keys->n; i++) {
            ds_py_buffer_give(get->buffers[i]);
        }
        return -1;
    }
    if (get_deliver(call, get) < 0) {
        return -1;
    }
    if (get->found) {
        return 0;
    }
    if (get->failure == DS_ENOTFOUND) {
        ds_py_fail(call->state, DS_ENOTFOUND, get->keys->objects[get->failed],
                   "Cannot get objects from worker");
    } else {
        ds_py_fail_call(call->state, get->failure, get->keys->objects[get->failed], "get");
    }
    return -1;
}

static PyObject *get_keys(const struct ds_py_call *call, const struct ds_py_keys *keys,
                          int64_t timeout_ms)
{
    struct get get;

    if (timeout_ms > call->connection->request_timeout_ms) {
        timeout_ms = call->connection->request_timeout_ms;
    }
    if (get_init(keys, &get) < 0) {
        return NULL;
    }
    if (get_fetch(call, timeout_ms, &get) < 0) {
        Py_CLEAR(get.result);
    }
    PyMem_Free(get.buffers);
    return get.result;
}

static PyObject *objects_get(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "get", 2, 2, {"object_keys", "timeout_ms", NULL}};
    struct objects *self = as_objects(object);
    struct ds_py_keys keys;
    struct ds_py_call call;
    PyObject *parsed[2], *result = NULL;
    int64_t timeout_ms = 0;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_int(self->state, parsed[1], "timeout_ms", 0, INT32_MAX, &timeout_ms) < 0 ||
        ds_py_keys_get(self->state, parsed[0], "object_keys", DS_BATCH_MAX, &keys) < 0) {
        return NULL;
    }
    if (ds_py_call_start(self->state, self->connection, &call) == 0) {
        result = get_keys(&call, &keys, timeout_ms);
        ds_py_call_end(&call);
    }
    ds_py_keys_release(&keys);
    return result;
}

/* --- global references --- */

typedef int ref_fn(struct ds_client *client, const struct ds_bytes *keys, size_t n, int *results);

static PyObject *change_refs(struct objects *self, PyObject *list, ref_fn *change, const char *what)
{
    struct ds_py_keys keys;
    struct ds_py_call call;
    PyObject *result = NULL;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_keys_get(self->state, list, "object_keys", DS_BATCH_MAX, &keys) < 0) {
        return NULL;
    }
    if (ds_py_call_start(self->state, self->connection, &call) == 0) {
        ds_py_wait_begin(call.connection, &wait);
        rc = change(call.client, keys.keys, keys.n, keys.results);
        rc = ds_py_wait_end(&wait, rc);
        ds_py_call_end(&call);
        result = rc < 0 ? ds_py_fail_call(self->state, rc, keys.objects[0], what)
                        : ds_py_keys_failed(&keys);
    }
    ds_py_keys_release(&keys);
    return result;
}

static PyObject *g_increase_ref(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"g_increase_ref", 1, 1, {"object_keys", NULL}};
    PyObject *parsed[1];

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0) {
        return NULL;
    }
    return change_refs(as_objects(object), parsed[0], ds_object_ref, "take a reference on");
}

static PyObject *g_decrease_ref(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"g_decrease_ref", 1, 1, {"object_keys", NULL}};
    PyObject *parsed[1];

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0) {
        return NULL;
    }
    return change_refs(as_objects(object), parsed[0], ds_object_unref, "drop the reference on");
}

/* -1 instead of an error, as the original. */
static PyObject *query_global_ref_num(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "query_global_ref_num", 1, 1, {"object_key", NULL}};
    struct objects *self = as_objects(object);
    struct ds_py_call call;
    struct ds_bytes key;
    PyObject *parsed[1];
    uint64_t count = 0;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0) {
        return NULL;
    }
    if (parse_key(self->state, parsed[0], &key) < 0 ||
        ds_py_call_start(self->state, self->connection, &call) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            return NULL;
        }
        PyErr_Clear();
        return PyLong_FromLong(-1);
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = ds_object_ref_count(call.client, key.data, key.size, &count);
    rc = ds_py_wait_end(&wait, rc);
    ds_py_call_end(&call);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    return rc < 0 ? PyLong_FromLong(-1) : PyLong_FromUnsignedLongLong(count);
}

/* --- the type --- */

static PyObject *objects_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct ds_py_state *state = ds_py_state_of(type);
    struct objects *self;

    (void)args;
    (void)kwargs;
    if (state == NULL) {
        return NULL;
    }
    self = (struct objects *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
    }
    return (PyObject *)self;
}

static void objects_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_CLEAR(as_objects(object)->connection);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *objects_attach(PyObject *object, PyObject *connection)
{
    struct objects *self = as_objects(object);

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

static PyMethodDef objects_methods[] = {
    {"_attach", objects_attach, METH_O, "Calls go through this Connection; None: through none."},
    {"create", DS_PY_METHOD(objects_create), DS_PY_FAST,
     "create($self, object_key, size, param=None)\n--\n\n"
     "A Buffer of `size` bytes, invisible to others until publish() or seal()."},
    {"put", DS_PY_METHOD(objects_put), DS_PY_FAST,
     "put($self, object_key, value, param=None, nested_object_keys=None)\n--\n\n"
     "Creates, copies and publishes in one call."},
    {"get", DS_PY_METHOD(objects_get), DS_PY_FAST,
     "get($self, object_keys, timeout_ms)\n--\n\n"
     "A Buffer or None for each key; waits for missing ones up to timeout_ms.\n"
     "RuntimeError if there is none at all."},
    {"g_increase_ref", DS_PY_METHOD(g_increase_ref), DS_PY_FAST,
     "g_increase_ref($self, object_keys)\n--\n\n"
     "Takes a global reference on each key; the keys where that failed."},
    {"g_decrease_ref", DS_PY_METHOD(g_decrease_ref), DS_PY_FAST,
     "g_decrease_ref($self, object_keys)\n--\n\n"
     "Drops one; the object goes with the last of all clients. The keys where that failed."},
    {"query_global_ref_num", DS_PY_METHOD(query_global_ref_num), DS_PY_FAST,
     "query_global_ref_num($self, object_key)\n--\n\nAll clients' references; -1 on failure."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot objects_slots[] = {
    {Py_tp_new, objects_new},
    {Py_tp_dealloc, objects_dealloc},
    {Py_tp_methods, objects_methods},
    {Py_tp_doc, "The calls of ObjectClient."},
    {0, NULL},
};

PyType_Spec ds_py_objects_spec = {
    .name = "yr.datasystem._ds.Objects",
    .basicsize = sizeof(struct objects),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = objects_slots,
};
