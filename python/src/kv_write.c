/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_write.c - set, mset, mcreate, delete, expire.
 *
 * set, mset and mcreate have enum defaults, which only Python can show in a signature: their public
 * methods are Python and hand all arguments on by position.
 */
#include "ds_py.h"

#include <math.h>
#include <string.h>

static struct ds_py_kv *as_kv(PyObject *object)
{
    return (struct ds_py_kv *)object;
}

/* --- options --- */

/* ttl_ms (int or float, None for none given) wins over a ttl_second of 0. A tiny time to live is
 * not rounded to 0, which means for ever. */
static int parse_ttl_ms(struct ds_py_state *state, PyObject *ttl_ms, uint64_t *ret)
{
    double value;

    if (PyFloat_CheckExact(ttl_ms)) {
        value = PyFloat_AS_DOUBLE(ttl_ms);
    } else if (PyLong_CheckExact(ttl_ms)) {
        value = PyLong_AsDouble(ttl_ms);
        if (value == -1.0 && PyErr_Occurred() != NULL) {
            PyErr_Clear();
            value = -1.0;
        }
    } else {
        return ds_py_bad_type("ttl_ms", "[<class 'int'>, <class 'float'>]");
    }
    if (!(value >= 0.0 && value <= 1e15)) {
        ds_py_fail(state, DS_EINVAL, NULL,
                   "Invalid ttl_ms size %S is set, which should be between [0,1e15]", ttl_ms);
        return -1;
    }
    *ret = (uint64_t)ceil(value);
    return 0;
}

static int parse_ttl(struct ds_py_state *state, PyObject *ttl_second, PyObject *ttl_ms,
                     uint64_t *ret)
{
    int64_t seconds = 0;

    if (ds_py_int(state, ttl_second, "ttl_second", 0, UINT32_MAX, &seconds) < 0) {
        return -1;
    }
    *ret = (uint64_t)seconds * 1000;
    if (ttl_ms == NULL || ttl_ms == Py_None) {
        return 0;
    }
    if (seconds != 0) {
        ds_py_fail(state, DS_EINVAL, NULL, "Give ttl_second or ttl_ms, not both");
        return -1;
    }
    return parse_ttl_ms(state, ttl_ms, ret);
}

enum { OPTION_MODE, OPTION_TTL, OPTION_EXISTENCE, OPTION_EMPTY, OPTION_TTL_MS, N_OPTIONS };

/* The arguments that end set, mset and mcreate. */
static int parse_options(struct ds_py_state *state, PyObject *const *args,
                         struct ds_set_options *ret)
{
    int mode = 0;
    int existence = 0;

    memset(ret, 0, sizeof(*ret));
    if (ds_py_member(args[OPTION_MODE], "write_mode", state->write_modes, 5, &mode) < 0 ||
        ds_py_member(args[OPTION_EXISTENCE], "existence_opt", state->existence_opts, 2,
                     &existence) < 0 ||
        ds_py_bool(args[OPTION_EMPTY], "allow_empty", &ret->allow_empty) < 0 ||
        parse_ttl(state, args[OPTION_TTL], args[OPTION_TTL_MS], &ret->ttl_ms) < 0) {
        return -1;
    }
    ret->mode = (enum ds_write_mode)mode;
    ret->only_if_absent = existence == 1;
    return 0;
}

static int check_count(Py_ssize_t nargs, Py_ssize_t expected)
{
    if (nargs == expected) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, nargs);
    return -1;
}

/* A failed write: the text says what callers of the original look for. */
static void fail_write(struct ds_py_state *state, int code, PyObject *key,
                       const struct ds_set_options *options, size_t size)
{
    bool second_level = options->mode == DS_WRITE_THROUGH || options->mode == DS_WRITE_BACK ||
                        options->mode == DS_WRITE_BACK_EVICT;

    if (second_level && (code == DS_EINVAL || code == DS_ENOTSUPPORTED)) {
        ds_py_fail(state, DS_EINVAL, key,
                   "L2_cache_type is set to none: the worker has no second level for this "
                   "write_mode");
    } else {
        ds_py_fail(state, code, key, "Cannot write %zu bytes to key %R", size, key);
    }
}

static int check_size(struct ds_py_state *state, PyObject *key, size_t size,
                      const struct ds_set_options *options)
{
    if (size > 0 || options->allow_empty) {
        return 0;
    }
    ds_py_fail(state, DS_EINVAL, key, "The dataSize value should be bigger than zero.");
    return -1;
}

/* --- set --- */

static PyObject *set_value(struct ds_py_kv *self, PyObject *key_object, const struct ds_bytes *key,
                           const struct ds_bytes *value, const struct ds_set_options *options)
{
    struct ds_py_call call;
    struct ds_py_wait wait;
    int rc;

    if (check_size(self->state, key_object, value->size, options) < 0 ||
        ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = ds_kv_set(call.client, key->data, key->size, value->data, value->size, options);
    rc = ds_py_wait_end(&wait, rc);
    ds_py_call_end(&call);
    if (rc < 0) {
        fail_write(self->state, rc, key_object, options, value->size);
        return NULL;
    }
    if (!options->only_if_absent) {
        Py_RETURN_NONE;
    }
    return PyBool_FromLong(rc != DS_UNCHANGED);
}

/* (key, val, write_mode, ttl_second, existence_opt, allow_empty, ttl_ms): for NX whether it was
 * written, else None */
PyObject *ds_py_kv_set(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct ds_py_kv *self = as_kv(object);
    struct ds_set_options options;
    struct ds_bytes key, value;
    struct ds_py_held held;
    PyObject *result = NULL;

    if (check_count(nargs, 2 + N_OPTIONS) < 0) {
        return NULL;
    }
    if (!PyUnicode_CheckExact(args[0])) {
        (void)ds_py_bad_type("key", "[<class 'str'>]");
        return NULL;
    }
    if (ds_py_hold(args[1], "val", &value, &held) < 0) {
        return NULL;
    }
    if (parse_options(self->state, args + 2, &options) == 0 &&
        ds_py_key(self->state, args[0], &key) == 0) {
        result = set_value(self, args[0], &key, &value, &options);
    }
    ds_py_unhold(&held);
    return result;
}

/* --- mset --- */

struct values {
    size_t n;
    struct ds_bytes *bytes;
    struct ds_py_held *held;
};

static void values_release(struct values *values)
{
    for (size_t i = 0; i < values->n; i++) {
        ds_py_unhold(&values->held[i]);
    }
    PyMem_Free(values->held);
}

static int values_get(struct ds_py_state *state, PyObject *list, const struct ds_py_keys *keys,
                      const struct ds_set_options *options, struct values *ret)
{
    size_t n = keys->n;

    ret->n = 0;
    ret->held = PyMem_Malloc(n * (sizeof(*ret->held) + sizeof(*ret->bytes)));
    if (ret->held == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    ret->bytes = (struct ds_bytes *)(void *)(ret->held + n);
    for (size_t i = 0; i < n; i++) {
        /* taking a buffer may run Python code, which may change the list */
        if ((size_t)PyList_GET_SIZE(list) != n) {
            PyErr_SetString(PyExc_RuntimeError, "The list of vals changed its size");
            return -1;
        }
        if (ds_py_hold(PyList_GET_ITEM(list, (Py_ssize_t)i), "vals", &ret->bytes[i],
                       &ret->held[i]) < 0) {
            return -1;
        }
        ret->n++;
        if (check_size(state, keys->objects[i], ret->bytes[i].size, options) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The index of the first key that failed; the batch's code is not enough, it may be another's. */
static size_t first_failed(const struct ds_py_keys *keys)
{
    size_t i = 0;

    while (i + 1 < keys->n && keys->results[i] >= 0) {
        i++;
    }
    return i;
}

/* Without the keys that are not legal: the first one always is. */
static int mset_some(struct ds_client *client, struct ds_py_keys *keys, const struct values *values,
                     const struct ds_set_options *options)
{
    char *block =
        PyMem_RawMalloc(keys->n * (2 * sizeof(struct ds_bytes) + sizeof(size_t) + sizeof(int)));
    struct ds_bytes *some_keys = (struct ds_bytes *)(void *)block;
    struct ds_bytes *some_values;
    size_t *index;
    int *results;
    size_t n = 0;
    int rc;

    if (block == NULL) {
        keys->results[0] = DS_ENOMEM;
        return DS_ENOMEM;
    }
    some_values = some_keys + keys->n;
    index = (size_t *)(void *)(some_values + keys->n);
    results = (int *)(void *)(index + keys->n);
    for (size_t i = 0; i < keys->n; i++) {
        if (keys->results[i] == 0) {
            some_keys[n] = keys->keys[i];
            some_values[n] = values->bytes[i];
            index[n++] = i;
        }
    }
    rc = ds_kv_mset(client, some_keys, some_values, n, options, results);
    for (size_t i = 0; i < n; i++) {
        keys->results[index[i]] = results[i];
    }
    PyMem_RawFree(block);
    return rc;
}

static bool all_legal(const struct ds_py_keys *keys)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (keys->results[i] != 0) {
            return false;
        }
    }
    return true;
}

/* For each key whether it was written; None where that failed. */
static PyObject *written(const struct ds_py_keys *keys)
{
    PyObject *list = PyList_New((Py_ssize_t)keys->n);

    for (size_t i = 0; list != NULL && i < keys->n; i++) {
        PyObject *item = keys->results[i] < 0               ? Py_None
                         : keys->results[i] == DS_UNCHANGED ? Py_False
                                                            : Py_True;

        Py_INCREF(item);
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

/* `tell` makes the result, when a key succeeded. */
static PyObject *mset_values(struct ds_py_kv *self, struct ds_py_keys *keys,
                             const struct values *values, const struct ds_set_options *options,
                             PyObject *(*tell)(const struct ds_py_keys *))
{
    struct ds_py_call call;
    bool legal;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    legal = all_legal(keys);
    ds_py_wait_begin(call.connection, &wait);
    rc = legal ? ds_kv_mset(call.client, keys->keys, values->bytes, keys->n, options, keys->results)
               : mset_some(call.client, keys, values, options);
    rc = ds_py_wait_end(&wait, rc);
    ds_py_call_end(&call);
    if (rc < 0) {
        size_t i = first_failed(keys);

        fail_write(self->state, rc, keys->objects[i], options, values->bytes[i].size);
        return NULL;
    }
    return tell(keys);
}

static PyObject *mset_lists(struct ds_py_kv *self, struct ds_py_keys *keys, PyObject *vals,
                            const struct ds_set_options *options,
                            PyObject *(*tell)(const struct ds_py_keys *))
{
    struct values values;
    PyObject *result = NULL;

    if (keys->n != (size_t)PyList_GET_SIZE(vals)) {
        return ds_py_fail(self->state, DS_EINVAL, NULL,
                          "The number of key and value is not the same: %zu and %zd", keys->n,
                          PyList_GET_SIZE(vals));
    }
    if (values_get(self->state, vals, keys, options, &values) == 0) {
        result = mset_values(self, keys, &values, options, tell);
    }
    values_release(&values);
    return result;
}

static PyObject *mset(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *(*tell)(const struct ds_py_keys *))
{
    struct ds_py_kv *self = as_kv(object);
    struct ds_set_options options;
    struct ds_py_keys keys;
    PyObject *result;

    if (check_count(nargs, 2 + N_OPTIONS) < 0) {
        return NULL;
    }
    if (!PyList_CheckExact(args[1])) {
        (void)ds_py_bad_type("vals", "[<class 'list'>]");
        return NULL;
    }
    if (parse_options(self->state, args + 2, &options) < 0 ||
        ds_py_keys_get_some(self->state, args[0], "keys", DS_BATCH_MAX, &keys) < 0) {
        return NULL;
    }
    result = mset_lists(self, &keys, args[1], &options, tell);
    ds_py_keys_release(&keys);
    return result;
}

/* (keys, vals, write_mode, ttl_second, existence_opt, allow_empty, ttl_ms): the failed keys */
PyObject *ds_py_kv_mset(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    return mset(object, args, nargs, ds_py_keys_failed);
}

/* The same arguments: for each key whether it was written, None for a failed one */
PyObject *ds_py_kv_mset_told(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    return mset(object, args, nargs, written);
}

/* --- mcreate --- */

static int parse_sizes(struct ds_py_state *state, PyObject *list, const struct ds_py_keys *keys,
                       int64_t *ret)
{
    if (keys->n != (size_t)PyList_GET_SIZE(list)) {
        ds_py_fail(state, DS_EINVAL, NULL,
                   "The number of key and size is not the same: %zu and %zd", keys->n,
                   PyList_GET_SIZE(list));
        return -1;
    }
    for (size_t i = 0; i < keys->n; i++) {
        PyObject *size = PyList_GET_ITEM(list, (Py_ssize_t)i);

        if (ds_py_int(state, size, "sizes", 0, INT64_MAX, &ret[i]) < 0) {
            return -1;
        }
        if (ret[i] == 0) {
            ds_py_fail(state, DS_EINVAL, keys->objects[i],
                       "The dataSize value should be bigger than zero.");
            return -1;
        }
    }
    return 0;
}

/* Without the GIL. Those that were made, also on failure, where *ret_failed is the key's index. */
static int create_all(struct ds_client *client, const struct ds_py_keys *keys, const int64_t *sizes,
                      const struct ds_set_options *options, struct ds_buffer **buffers,
                      size_t *ret_failed)
{
    memset(buffers, 0, keys->n * sizeof(struct ds_buffer *));
    for (size_t i = 0; i < keys->n; i++) {
        int rc = ds_kv_create(client, keys->keys[i].data, keys->keys[i].size, (size_t)sizes[i],
                              options, &buffers[i]);

        if (rc < 0) {
            *ret_failed = i;
            return rc;
        }
    }
    return 0;
}

static void free_all(struct ds_buffer **buffers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ds_py_buffer_give(buffers[i]);
    }
}

/* Takes all buffers over, also where it fails. */
static PyObject *wrap_all(const struct ds_py_call *call, const struct ds_py_keys *keys,
                          struct ds_buffer **buffers)
{
    PyObject *list = PyList_New((Py_ssize_t)keys->n);

    for (size_t i = 0; i < keys->n; i++) {
        PyObject *item;

        if (list == NULL) {
            ds_buffer_free(buffers[i]);
            continue;
        }
        item = ds_py_buffer_new(call->state, call->state->value_buffer_type, buffers[i],
                                keys->objects[i], call->connection->id);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        }
    }
    return list;
}

static PyObject *mcreate_keys(struct ds_py_kv *self, const struct ds_py_keys *keys,
                              const int64_t *sizes, const struct ds_set_options *options,
                              struct ds_buffer **buffers)
{
    struct ds_py_call call;
    PyObject *result = NULL;
    size_t failed = 0;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = create_all(call.client, keys, sizes, options, buffers, &failed);
    rc = ds_py_wait_end(&wait, rc);
    if (rc < 0) {
        free_all(buffers, keys->n);
        fail_write(self->state, rc, keys->objects[failed], options, (size_t)sizes[failed]);
    } else {
        result = wrap_all(&call, keys, buffers);
    }
    ds_py_call_end(&call);
    return result;
}

/* (keys, sizes, write_mode, ttl_second, existence_opt, allow_empty, ttl_ms): StateValueBuffers */
PyObject *ds_py_kv_mcreate(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    struct ds_py_kv *self = as_kv(object);
    struct ds_set_options options;
    struct ds_py_keys keys;
    struct ds_buffer **buffers;
    int64_t *sizes;
    PyObject *result = NULL;

    if (check_count(nargs, 2 + N_OPTIONS) < 0) {
        return NULL;
    }
    if (!PyList_CheckExact(args[1])) {
        (void)ds_py_bad_type("sizes", "[<class 'list'>]");
        return NULL;
    }
    if (parse_options(self->state, args + 2, &options) < 0 ||
        ds_py_keys_get(self->state, args[0], "keys", DS_BATCH_MAX, &keys) < 0) {
        return NULL;
    }
    buffers = PyMem_Malloc(keys.n * sizeof(struct ds_buffer *));
    sizes = PyMem_Malloc(keys.n * sizeof(*sizes));
    if (buffers == NULL || sizes == NULL) {
        PyErr_NoMemory();
    } else if (parse_sizes(self->state, args[1], &keys, sizes) == 0) {
        result = mcreate_keys(self, &keys, sizes, &options, buffers);
    }
    PyMem_Free(buffers);
    PyMem_Free(sizes);
    ds_py_keys_release(&keys);
    return result;
}

/* --- delete, expire --- */

/* The failed keys, or the first one's error where `rc` says that all failed. */
static PyObject *batch_result(struct ds_py_state *state, int rc, const struct ds_py_keys *keys,
                              const char *what)
{
    if (rc < 0) {
        return ds_py_fail_call(state, rc, keys->objects[first_failed(keys)], what);
    }
    return ds_py_keys_failed(keys);
}

static PyObject *delete_keys(struct ds_py_kv *self, const struct ds_py_keys *keys)
{
    struct ds_py_call call;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = ds_kv_delete(call.client, keys->keys, keys->n, keys->results);
    rc = ds_py_wait_end(&wait, rc);
    ds_py_call_end(&call);
    return batch_result(self->state, rc, keys, "delete");
}

PyObject *ds_py_kv_delete(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"delete", 0, 1, {"keys", NULL}};
    struct ds_py_kv *self = as_kv(object);
    struct ds_py_keys keys;
    PyObject *parsed[1], *result;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_keys_get(self->state, parsed[0], "keys", DS_BATCH_MAX, &keys) < 0) {
        return NULL;
    }
    result = delete_keys(self, &keys);
    ds_py_keys_release(&keys);
    return result;
}

static PyObject *expire_keys(struct ds_py_kv *self, const struct ds_py_keys *keys, uint64_t ttl_ms)
{
    struct ds_py_call call;
    struct ds_py_wait wait;
    int rc;

    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(call.connection, &wait);
    rc = ds_kv_expire(call.client, keys->keys, keys->n, ttl_ms, keys->results);
    rc = ds_py_wait_end(&wait, rc);
    ds_py_call_end(&call);
    return batch_result(self->state, rc, keys, "change the expiry of");
}

PyObject *ds_py_kv_expire(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "expire", 2, 2, {"keys", "ttl_second", "ttl_ms", NULL}};
    struct ds_py_kv *self = as_kv(object);
    struct ds_py_keys keys;
    PyObject *parsed[3], *result;
    uint64_t ttl_ms;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        parse_ttl(self->state, parsed[1], parsed[2], &ttl_ms) < 0 ||
        ds_py_keys_get(self->state, parsed[0], "keys", DS_BATCH_MAX, &keys) < 0) {
        return NULL;
    }
    result = expire_keys(self, &keys, ttl_ms);
    ds_py_keys_release(&keys);
    return result;
}
