/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_publish.c - mset_buffer: publishes what mcreate() made.
 *
 * A published value never changes. A memoryview or an array from MutableData() that the program
 * still has could change it, and none can be made read-only from here. So where one is alive a copy
 * is published, in a block of its own, and what was written in place is left to the views of it.
 * Where none is, which is usual, nothing is copied.
 */
#include "ds_py.h"

#include <string.h>

/* A batch of StateValueBuffers, each marked as used. The tuple that they come from holds them. */
struct publish {
    size_t n;
    struct ds_py_buffer **objects;
    struct ds_buffer **buffers; /* what is published: the object's, or a copy */
    int *results;
};

static bool is_copy(const struct publish *publish, size_t i)
{
    return publish->buffers[i] != publish->objects[i]->buffer;
}

/* A copy that was not published goes; the object keeps what it has and can be tried again. */
static void publish_end(struct publish *publish)
{
    for (size_t i = 0; i < publish->n; i++) {
        if (is_copy(publish, i)) {
            PyThreadState *thread = PyEval_SaveThread();
            ds_buffer_free(publish->buffers[i]);
            PyEval_RestoreThread(thread);
        }
        ds_py_buffer_leave(publish->objects[i]);
    }
    PyMem_Free(publish->objects);
}

static int publish_check(const struct ds_py_call *call, PyObject *object)
{
    const struct ds_py_buffer *buffer = (struct ds_py_buffer *)object;

    if (Py_TYPE(object) != call->state->value_buffer_type) {
        return ds_py_bad_type("buffers", "[<class 'yr.datasystem.kv_client.StateValueBuffer'>]");
    }
    if (!buffer->placeholder && buffer->connection_id != call->connection->id) {
        ds_py_fail(call->state, DS_EINVAL, buffer->key, "The buffer is another client's");
        return -1;
    }
    return 0;
}

/* A buffer that is listed twice would be published twice. */
static int check_distinct(struct ds_py_state *state, PyObject *buffers)
{
    PyObject *set = PySet_New(buffers);
    Py_ssize_t n;

    if (set == NULL) {
        return -1;
    }
    n = PySet_GET_SIZE(set);
    Py_DECREF(set);
    if (n != PyTuple_GET_SIZE(buffers)) {
        ds_py_fail_hint(state, DS_EDUPLICATED, NULL, "list each buffer once",
                        "A buffer is listed twice");
        return -1;
    }
    return 0;
}

/* Marks all in one go, when none is in use: whoever waited while holding some could deadlock. */
static int publish_mark(PyObject *buffers, struct publish *publish)
{
    size_t n = (size_t)PyTuple_GET_SIZE(buffers);
    size_t idle = 0;

    while (idle < n) {
        struct ds_py_buffer *buffer =
            (struct ds_py_buffer *)PyTuple_GET_ITEM(buffers, (Py_ssize_t)idle);

        idle = buffer->busy ? 0 : idle + 1;
        if (idle == 0 && ds_py_buffer_wait(buffer) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        publish->objects[i] = (struct ds_py_buffer *)PyTuple_GET_ITEM(buffers, (Py_ssize_t)i);
        publish->buffers[i] = publish->objects[i]->buffer;
        publish->results[i] = 0;
        publish->objects[i]->busy = PyThread_get_thread_ident();
    }
    publish->n = n;
    return 0;
}

static int publish_begin(const struct ds_py_call *call, PyObject *buffers, struct publish *ret)
{
    size_t n = (size_t)PyTuple_GET_SIZE(buffers);

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < n; i++) {
        if (publish_check(call, PyTuple_GET_ITEM(buffers, (Py_ssize_t)i)) < 0) {
            return -1;
        }
    }
    if (check_distinct(call->state, buffers) < 0) {
        return -1;
    }
    ret->objects =
        PyMem_Malloc(n * (sizeof(*ret->objects) + sizeof(*ret->buffers) + sizeof(*ret->results)));
    if (ret->objects == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    ret->buffers = (struct ds_buffer **)(void *)(ret->objects + n);
    ret->results = (int *)(void *)(ret->buffers + n);
    return publish_mark(buffers, ret);
}

static int fail_publish(struct ds_py_state *state, int code, PyObject *key)
{
    if (code == DS_EINVAL) {
        ds_py_fail(state, code, key,
                   "The buffer of key %R was published already: make another with mcreate()", key);
    } else {
        ds_py_fail_call(state, code, key, "publish");
    }
    return -1;
}

/* A buffer that was released cannot be published any more; a placeholder need not be. */
static int publish_check_set(const struct ds_py_call *call, const struct publish *publish)
{
    for (size_t i = 0; i < publish->n; i++) {
        if (publish->buffers[i] == NULL && !publish->objects[i]->placeholder) {
            ds_py_fail(call->state, DS_ESTALE, publish->objects[i]->key, "The buffer was released");
            return -1;
        }
    }
    return 0;
}

/* Before anything is published: whoever is told that memory is short can drop the views and try
 * again. */
static int publish_copy(const struct ds_py_call *call, struct publish *publish)
{
    for (size_t i = 0; i < publish->n; i++) {
        struct ds_py_buffer *object = publish->objects[i];
        struct ds_py_wait wait;
        int rc;

        if (object->writers == 0) {
            continue;
        }
        ds_py_wait_begin(call->connection, &wait);
        rc = ds_buffer_copy(object->buffer, &publish->buffers[i]);
        rc = ds_py_wait_end(&wait, rc);
        if (rc == DS_ENOMEM) {
            ds_py_fail_hint(call->state, rc, object->key,
                            "drop what MutableData() gave (del, or release()) before "
                            "mset_buffer(): then nothing is copied",
                            "No memory for the copy of key %R that a view in use makes necessary",
                            object->key);
            return -1;
        }
        if (rc < 0) {
            return fail_publish(call->state, rc, object->key);
        }
    }
    return 0;
}

static void publish_replace(struct publish *publish)
{
    for (size_t i = 0; i < publish->n; i++) {
        if (publish->results[i] >= 0 && is_copy(publish, i)) {
            ds_py_buffer_replace(publish->objects[i], publish->buffers[i]);
        }
    }
}

/* The original answers nothing for each key, so one that failed is an error. */
static int publish_run(const struct ds_py_call *call, struct publish *publish)
{
    struct ds_py_wait wait;
    int rc;

    ds_py_wait_begin(call->connection, &wait);
    rc = ds_kv_publish(call->client, publish->buffers, publish->n, publish->results);
    rc = ds_py_wait_end(&wait, rc);
    publish_replace(publish);
    if (PyErr_Occurred() != NULL) {
        return -1;
    }
    for (size_t i = 0; i < publish->n; i++) {
        if (publish->results[i] < 0) {
            return fail_publish(call->state, publish->results[i], publish->objects[i]->key);
        }
    }
    if (rc < 0) {
        ds_py_fail_call(call->state, rc, NULL, "publish the buffers");
        return -1;
    }
    return 0;
}

static int publish_all(const struct ds_py_call *call, PyObject *buffers)
{
    struct publish publish;
    int rc = publish_begin(call, buffers, &publish);

    if (rc == 0) {
        rc = publish_check_set(call, &publish);
    }
    if (rc == 0) {
        rc = publish_copy(call, &publish);
    }
    if (rc == 0) {
        rc = publish_run(call, &publish);
    }
    publish_end(&publish);
    return rc;
}

PyObject *ds_py_kv_mset_buffer(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    static const struct ds_py_signature signature = {"mset_buffer", 1, 1, {"buffers", NULL}};
    struct ds_py_kv *self = (struct ds_py_kv *)object;
    struct ds_py_call call;
    PyObject *parsed[1], *buffers;
    Py_ssize_t n;
    int rc;

    if (ds_py_parse(&signature, args, nargs, kwnames, parsed) < 0) {
        return NULL;
    }
    if (!PyList_CheckExact(parsed[0])) {
        (void)ds_py_bad_type("buffers", "[<class 'list'>]");
        return NULL;
    }
    n = PyList_GET_SIZE(parsed[0]);
    if (n == 0) {
        return ds_py_fail(self->state, DS_EINVAL, NULL, "The buffer list must not be empty.");
    }
    if (n > DS_BATCH_MAX) {
        return ds_py_fail(self->state, DS_EINVAL, NULL, "The buffers size exceed %u", DS_BATCH_MAX);
    }
    buffers = PyList_AsTuple(parsed[0]);
    if (buffers == NULL) {
        return NULL;
    }
    rc = ds_py_call_start(self->state, self->connection, &call);
    if (rc == 0) {
        rc = publish_all(&call, buffers);
        ds_py_call_end(&call);
    }
    Py_DECREF(buffers);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
