/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_read.c - get, get_buffers, get_read_only_buffers, read, exist.
 *
 * A get has two parts. First each key is looked up in shared memory with the GIL held: a hit costs
 * a pin and one object, and nothing else. What is missing is then collected and asked of the worker
 * without the GIL.
 *
 * The list of keys is the caller's and may change while the GIL is away, so its size is compared
 * before an item is looked at, and what is asked of the worker is held.
 */
#include "ds_py.h"

#include <string.h>

enum get_kind { GET_VIEW, GET_BYTES, GET_STR };

static struct ds_py_kv *as_kv(PyObject *object)
{
    return (struct ds_py_kv *)object;
}

/* True with an exception set. */
static bool list_changed(Py_ssize_t size, Py_ssize_t size_before)
{
    if (size != size_before) {
        PyErr_SetString(PyExc_RuntimeError, "The list of keys changed its size during the call");
        return true;
    }
    return false;
}

/* --- one value --- */

static PyObject *bytes_of(const struct ds_view *view)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)view->size);
    char *to;

    if (bytes == NULL || view->size == 0) {
        return bytes;
    }
    to = PyBytes_AS_STRING(bytes);
    if (view->size < DS_PY_COPY_UNLOCKED) {
        memcpy(to, view->data, view->size);
    } else {
        PyThreadState *thread = PyEval_SaveThread();
        memcpy(to, view->data, view->size);
        PyEval_RestoreThread(thread);
    }
    return bytes;
}

/* The caller's item for a value. Takes the view over, also where it fails. */
static PyObject *item_of(struct ds_py_state *state, enum get_kind kind, struct ds_view *view)
{
    PyObject *item;

    if (kind == GET_VIEW) {
        return ds_py_view_new(state, view, 0, view->size);
    }
    if (kind == GET_BYTES) {
        item = bytes_of(view);
    } else {
        item = PyUnicode_DecodeUTF8(view->data, (Py_ssize_t)view->size, "strict");
    }
    ds_view_release(view);
    return item;
}

/* --- failures --- */

/* What to raise if nothing was found: the first failure, but rather one that says more than "not
 * found". `object` is the key's, borrowed. */
struct failure {
    int code;
    PyObject *object;
    bool offset; /* DS_ERANGE is about the offset, not about the number of views */
};

/* True if it was taken. */
static bool note_failure(int code, PyObject *object, struct failure *failure)
{
    if (failure->object != NULL && (failure->code != DS_ENOTFOUND || code == DS_ENOTFOUND)) {
        return false;
    }
    failure->code = code;
    failure->object = object;
    return true;
}

static void raise_failure(struct ds_py_state *state, const struct failure *failure)
{
    if (failure->code == DS_ENOTFOUND) {
        ds_py_fail(state, DS_ENOTFOUND, failure->object, "Cannot get objects from worker");
    } else if (failure->code == DS_ERANGE) {
        if (failure->offset) {
            ds_py_fail_hint(state, DS_ERANGE, failure->object, "",
                            "The offset is not inside the value of key %R", failure->object);
        } else {
            ds_py_fail_hint(state, DS_ERANGE, failure->object, "release some of them",
                            "This client holds as many views as it may");
        }
    } else {
        ds_py_fail_call(state, failure->code, failure->object, "get");
    }
}

/* --- what is not in reach: ask the worker --- */

struct missing {
    size_t n;              /* keys left to ask for */
    struct ds_bytes *keys; /* the four arrays belong together */
    PyObject **objects;    /* borrowed from `held` */
    Py_ssize_t *index;     /* in the result */
    struct ds_view *views; /* only between an answer and its delivery */
    int *results;
    PyObject *held; /* keeps the objects */
    struct failure failure;
    bool found; /* at least one key, here or before */
};

static void missing_fini(struct missing *missing)
{
    PyMem_Free(missing->keys);
    Py_XDECREF(missing->held);
}

static int missing_alloc(struct missing *missing, size_t n)
{
    char *block = PyMem_Malloc(n * (sizeof(*missing->keys) + sizeof(*missing->objects) +
                                    sizeof(*missing->index) + sizeof(*missing->views) +
                                    sizeof(*missing->results)));

    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    missing->keys = (struct ds_bytes *)(void *)block;
    missing->views = (struct ds_view *)(void *)(missing->keys + n);
    missing->objects = (PyObject **)(void *)(missing->views + n);
    missing->index = (Py_ssize_t *)(void *)(missing->objects + n);
    missing->results = (int *)(void *)(missing->index + n);
    return 0;
}

/* Collects the keys whose place in `result` is still None. */
static int missing_init(struct ds_py_state *state, PyObject *list, PyObject *result, size_t n,
                        struct missing *missing)
{
    PyObject *object;

    memset(missing, 0, sizeof(*missing));
    missing->held = PyList_AsTuple(list);
    if (missing->held == NULL || missing_alloc(missing, n) < 0) {
        return -1;
    }
    if (list_changed(PyTuple_GET_SIZE(missing->held), PyList_GET_SIZE(result))) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(result); i++) {
        if (PyList_GET_ITEM(result, i) != Py_None) {
            missing->found = true;
            continue;
        }
        object = PyTuple_GET_ITEM(missing->held, i);
        if (ds_py_key(state, object, &missing->keys[missing->n]) < 0) {
            return -1;
        }
        missing->objects[missing->n] = object;
        missing->index[missing->n] = i;
        missing->n++;
    }
    return 0;
}

/* Hands out what the worker found, and notes the failure of the others. */
static int missing_deliver(struct ds_py_state *state, enum get_kind kind, PyObject *result,
                           struct missing *missing)
{
    int rc = 0;

    for (size_t i = 0; i < missing->n; i++) {
        if (missing->results[i] != 0) {
            (void)note_failure(missing->results[i], missing->objects[i], &missing->failure);
        } else if (rc < 0) {
            ds_view_release(&missing->views[i]);
        } else {
            PyObject *item = item_of(state, kind, &missing->views[i]);

            rc = item == NULL ? -1 : PyList_SetItem(result, missing->index[i], item);
            missing->found = true;
        }
    }
    return rc;
}

static int missing_fetch(const struct ds_py_call *call, int64_t timeout_ms, enum get_kind kind,
                         PyObject *result, struct missing *missing)
{
    struct ds_py_wait wait;
    int rc;

    ds_py_wait_begin(call->connection, &wait);
    rc = ds_kv_mget(call->client, missing->keys, missing->n, timeout_ms, missing->views,
                    missing->results);
    rc = ds_py_wait_end(&wait, rc);
    if (PyErr_Occurred() != NULL) {
        ds_view_release_many(missing->views, missing->n);
        return -1;
    }
    (void)rc; /* the first result, which is looked at here */
    return missing_deliver(call->state, kind, result, missing);
}

static int ask_worker(const struct ds_py_call *call, PyObject *list, size_t n, int64_t timeout_ms,
                      enum get_kind kind, PyObject *result)
{
    struct missing missing;
    int rc = missing_init(call->state, list, result, n, &missing);

    if (timeout_ms > call->connection->request_timeout_ms) {
        timeout_ms = call->connection->request_timeout_ms;
    }
    if (rc == 0) {
        rc = missing_fetch(call, timeout_ms, kind, result, &missing);
    }
    if (rc == 0 && !missing.found) {
        raise_failure(call->state, &missing.failure);
        rc = -1;
    }
    missing_fini(&missing);
    return rc;
}

/* --- get --- */

/* Fills `result` with the local hits and None; the number of None, or -1. */
static Py_ssize_t local_hits(const struct ds_py_call *call, PyObject *list, enum get_kind kind,
                             PyObject *result)
{
    Py_ssize_t n = PyList_GET_SIZE(result);
    Py_ssize_t n_missing = 0;
    struct ds_bytes key;
    struct ds_view view;
    PyObject *item;

    for (Py_ssize_t i = 0; i < n; i++) {
        if (list_changed(PyList_GET_SIZE(list), n) ||
            ds_py_key(call->state, PyList_GET_ITEM(list, i), &key) < 0) {
            return -1;
        }
        if (ds_kv_try_get(call->client, key.data, key.size, &view) == 0) {
            item = item_of(call->state, kind, &view);
            if (item == NULL) {
                return -1;
            }
        } else {
            item = Py_None;
            Py_INCREF(item);
            n_missing++;
        }
        PyList_SET_ITEM(result, i, item);
    }
    return n_missing;
}

static int check_list(struct ds_py_state *state, PyObject *list, const char *name)
{
    if (list == NULL || !PyList_CheckExact(list)) {
        return ds_py_bad_type(name, "[<class 'list'>]");
    }
    if (PyList_GET_SIZE(list) == 0) {
        ds_py_fail(state, DS_EINVAL, NULL, "The input of %s list should not be empty", name);
        return -1;
    }
    if (PyList_GET_SIZE(list) > DS_BATCH_MAX) {
        ds_py_fail(state, DS_EINVAL, NULL, "The objectKeys size exceed %d", (int)DS_BATCH_MAX);
        return -1;
    }
    return 0;
}

static PyObject *get_listed(const struct ds_py_call *call, PyObject *list, int64_t timeout_ms,
                            enum get_kind kind)
{
    PyObject *result;
    Py_ssize_t n_missing;

    if (check_list(call->state, list, "keys") < 0) {
        return NULL;
    }
    result = PyList_New(PyList_GET_SIZE(list));
    if (result == NULL) {
        return NULL;
    }
    n_missing = local_hits(call, list, kind, result);
    if (n_missing < 0 || (n_missing > 0 && ask_worker(call, list, (size_t)n_missing, timeout_ms,
                                                      kind, result) < 0)) {
        Py_DECREF(result);
        return NULL;
    }
    return result;
}

static PyObject *get_many(struct ds_py_kv *self, PyObject *list, int64_t timeout_ms,
                          enum get_kind kind)
{
    struct ds_py_call call;
    PyObject *result;

    if (list == NULL || !PyList_CheckExact(list)) {
        (void)ds_py_bad_type("keys", "[<class 'list'>]");
        return NULL;
    }
    if (ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    result = get_listed(&call, list, timeout_ms, kind);
    ds_py_call_end(&call);
    return result;
}

PyObject *ds_py_kv_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "get", 0, 3, {"keys", "convert_to_str", "sub_timeout_ms", NULL}};
    struct ds_py_state *state = as_kv(self)->state;
    PyObject *parsed[3];
    bool convert_to_str = false;
    int64_t timeout_ms = 0;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_int(state, parsed[2], "sub_timeout_ms", 0, INT32_MAX, &timeout_ms) < 0) {
        return NULL;
    }
    if (parsed[1] != NULL) { /* the original takes anything that is true */
        int truth = PyObject_IsTrue(parsed[1]);

        if (truth < 0) {
            return NULL;
        }
        convert_to_str = truth != 0;
    }
    return get_many(as_kv(self), parsed[0], timeout_ms, convert_to_str ? GET_STR : GET_BYTES);
}

static PyObject *get_views(PyObject *self, const struct ds_py_signature *signature,
                           PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *parsed[2];
    int64_t timeout_ms = 0;

    if (nargs == 1 && kwnames == NULL) {
        return get_many(as_kv(self), args[0], 0, GET_VIEW);
    }
    if (ds_py_parse(signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_int(as_kv(self)->state, parsed[1], "timeout_ms", 0, INT32_MAX, &timeout_ms) < 0) {
        return NULL;
    }
    return get_many(as_kv(self), parsed[0], timeout_ms, GET_VIEW);
}

PyObject *ds_py_kv_get_buffers(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "get_buffers", 1, 2, {"keys", "timeout_ms", NULL}};

    return get_views(self, &signature, args, nargs, kwnames);
}

PyObject *ds_py_kv_get_read_only_buffers(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                         PyObject *kwnames)
{
    static const struct ds_py_signature signature = {
        "get_read_only_buffers", 0, 2, {"keys", "timeout_ms", NULL}};

    return get_views(self, &signature, args, nargs, kwnames);
}

/* --- read: parts of values --- */

struct parts {
    size_t n;
    struct ds_part *part; /* this and the rest: n of them, in one block of memory */
    struct ds_view *views;
    PyObject **objects; /* the keys' */
    int *results;
};

static int parts_alloc(struct parts *parts, size_t n)
{
    char *block = PyMem_Calloc(n, sizeof(*parts->part) + sizeof(*parts->views) +
                                      sizeof(*parts->objects) + sizeof(*parts->results));

    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    parts->n = n;
    parts->part = (struct ds_part *)(void *)block;
    parts->views = (struct ds_view *)(void *)(parts->part + n);
    parts->objects = (PyObject **)(void *)(parts->views + n);
    parts->results = (int *)(void *)(parts->objects + n);
    return 0;
}

/* A ReadParam, which is a tuple. */
static int parse_part(struct ds_py_state *state, PyObject *param, struct parts *parts, size_t i)
{
    struct ds_bytes key;
    int64_t offset;
    int64_t size;

    if (!PyTuple_Check(param) || PyTuple_GET_SIZE(param) != 3) {
        return ds_py_bad_type("read_params", "[<class 'yr.datasystem.kv_client.ReadParam'>]");
    }
    parts->objects[i] = PyTuple_GET_ITEM(param, 0);
    if (ds_py_key(state, parts->objects[i], &key) < 0 ||
        ds_py_int(state, PyTuple_GET_ITEM(param, 1), "offset", 0, INT64_MAX, &offset) < 0 ||
        ds_py_int(state, PyTuple_GET_ITEM(param, 2), "size", 0, INT64_MAX, &size) < 0) {
        return -1;
    }
    parts->part[i] = (struct ds_part){key.data, key.size, (uint64_t)offset, (uint64_t)size};
    return 0;
}

/* All at once, so that all have one deadline. What is here costs nobody the GIL. */
static int find_parts(const struct ds_py_call *call, struct parts *parts)
{
    struct ds_py_wait wait;
    bool all = true;
    int rc;

    for (size_t i = 0; i < parts->n; i++) {
        const struct ds_part *part = &parts->part[i];
        int found = ds_kv_try_get(call->client, part->key, part->key_size, &parts->views[i]);

        all = all && found == 0;
        parts->results[i] =
            found == 0 ? ds_view_slice(&parts->views[i], part->offset, part->size) : found;
    }
    if (all) {
        return 0;
    }
    ds_view_release_many(parts->views, parts->n);
    ds_py_wait_begin(call->connection, &wait);
    rc = ds_kv_mread(call->client, parts->part, parts->n, 0, parts->views, parts->results);
    rc = ds_py_wait_end(&wait, rc);
    (void)rc; /* the results say more */
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* All parts into `result`; -1 with an exception if none could be read. */
static int deliver_parts(struct ds_py_state *state, const struct parts *parts, PyObject *result)
{
    struct failure failure = {.code = 0};
    bool found = false;

    for (size_t i = 0; i < parts->n; i++) {
        int rc = parts->results[i];
        PyObject *item;

        if (rc == 0) {
            item = ds_py_view_new(state, &parts->views[i], 0, parts->views[i].size);
            parts->views[i] = (struct ds_view){0};
            found = true;
        } else {
            if (note_failure(rc == DS_EAGAIN ? DS_ERANGE : rc, parts->objects[i], &failure)) {
                failure.offset = rc == DS_ERANGE;
            }
            item = Py_None;
            Py_INCREF(item);
        }
        if (item == NULL) {
            return -1;
        }
        PyList_SET_ITEM(result, (Py_ssize_t)i, item);
    }
    if (!found) {
        raise_failure(state, &failure);
    }
    return found ? 0 : -1;
}

static int read_parts(const struct ds_py_call *call, PyObject *params, PyObject *result)
{
    struct parts parts;
    int rc = parts_alloc(&parts, (size_t)PyTuple_GET_SIZE(params));

    if (rc < 0) {
        return -1;
    }
    for (size_t i = 0; i < parts.n && rc == 0; i++) {
        rc = parse_part(call->state, PyTuple_GET_ITEM(params, (Py_ssize_t)i), &parts, i);
    }
    if (rc == 0) {
        rc = find_parts(call, &parts);
    }
    if (rc == 0) {
        rc = deliver_parts(call->state, &parts, result);
    }
    ds_view_release_many(parts.views, parts.n);
    PyMem_Free(parts.part);
    return rc;
}

PyObject *ds_py_kv_read(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"read", 1, 1, {"read_params", NULL}};
    struct ds_py_kv *self = as_kv(object);
    struct ds_py_call call;
    PyObject *parsed[1], *params, *result;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        check_list(self->state, parsed[0], "read_params") < 0 ||
        ds_py_call_start(self->state, self->connection, &call) < 0) {
        return NULL;
    }
    params = PyList_AsTuple(parsed[0]); /* holds the keys while the GIL is away */
    result = params != NULL ? PyList_New(PyTuple_GET_SIZE(params)) : NULL;
    if (result != NULL && read_parts(&call, params, result) < 0) {
        Py_CLEAR(result);
    }
    Py_XDECREF(params);
    ds_py_call_end(&call);
    return result;
}

/* --- exist --- */

static PyObject *list_of_bools(const bool *values, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);

    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *value = values[i] ? Py_True : Py_False;

        Py_INCREF(value);
        PyList_SET_ITEM(list, (Py_ssize_t)i, value);
    }
    return list;
}

static PyObject *exist_keys(const struct ds_py_call *call, const struct ds_py_keys *keys)
{
    bool *exists = PyMem_Calloc(keys->n, sizeof(*exists));
    PyObject *result = NULL;
    struct ds_py_wait wait;
    int rc;

    if (exists == NULL) {
        return PyErr_NoMemory();
    }
    ds_py_wait_begin(call->connection, &wait);
    rc = ds_kv_exist(call->client, keys->keys, keys->n, exists);
    rc = ds_py_wait_end(&wait, rc);
    if (rc < 0) {
        ds_py_fail_call(call->state, rc, NULL, "ask for keys");
    } else {
        result = list_of_bools(exists, keys->n);
    }
    PyMem_Free(exists);
    return result;
}

PyObject *ds_py_kv_exist(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"exist", 1, 1, {"keys", NULL}};
    struct ds_py_kv *self = as_kv(object);
    struct ds_py_call call;
    struct ds_py_keys keys;
    PyObject *parsed[1], *result = NULL;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0 ||
        ds_py_keys_get(self->state, parsed[0], "keys", DS_BATCH_EXIST_MAX, &keys) < 0) {
        return NULL;
    }
    if (ds_py_call_start(self->state, self->connection, &call) == 0) {
        result = exist_keys(&call, &keys);
        ds_py_call_end(&call);
    }
    ds_py_keys_release(&keys);
    return result;
}
