/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c - the type Connection: one ds_client, shared by the clients built on it.
 *
 * close() may be called while other threads are in a call. Each call is counted between
 * ds_py_call_start() and ds_py_call_end(); close() only marks the connection, new calls are
 * refused, waiting ones notice when libds asks whether to go on, and the last one out ends the
 * session. So no call ever uses a client that is gone, and close() itself never waits for another
 * thread.
 */
#include "ds_py.h"

#define CONNECT_TIMEOUT_MS_MIN 500

static void connection_end(struct ds_py_connection *self)
{
    struct ds_client *client = self->client;

    self->client = NULL;
    if (client != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        ds_client_close(client);
        PyEval_RestoreThread(thread);
    }
}

int ds_py_call_start(struct ds_py_state *state, struct ds_py_connection *connection,
                     struct ds_py_call *ret)
{
    if (connection == NULL) {
        ds_py_fail(state, DS_ENOTREADY, NULL,
                   "The client has not been initialized yet: call init() first");
        return -1;
    }
    if (connection->client == NULL || connection->closing) {
        ds_py_fail(state, DS_ENOTREADY, NULL, "The client is closed");
        return -1;
    }
    if (ds_client_forked(connection->client)) {
        ds_py_fail(state, DS_ENOTREADY, NULL,
                   "This client was made before fork(): call init() in the child");
        return -1;
    }
    Py_INCREF(connection);
    connection->calls++;
    ret->state = state;
    ret->connection = connection;
    ret->client = connection->client;
    return 0;
}

void ds_py_call_end(const struct ds_py_call *call)
{
    struct ds_py_connection *connection = call->connection;

    connection->calls--;
    if (connection->closing && connection->calls == 0) {
        connection_end(connection);
    }
    Py_DECREF(connection);
}

/* --- waiting --- */

/* The wait of this thread. Where there is none libds waits for something else: to free a buffer. */
static _Thread_local struct ds_py_wait *waiting;

void ds_py_wait_begin(const struct ds_py_connection *connection, struct ds_py_wait *ret)
{
    ret->connection = connection;
    ret->ended = false;
    ret->thread = PyEval_SaveThread();
    waiting = ret;
}

int ds_py_wait_end(struct ds_py_wait *wait, int rc)
{
    waiting = NULL;
    PyEval_RestoreThread(wait->thread);
    return wait->ended ? DS_EINTERRUPTED : rc;
}

static bool end_wait(const struct ds_py_connection *connection)
{
    if (PyErr_CheckSignals() < 0) {
        return true;
    }
    if (connection != NULL && connection->closing) {
        ds_py_fail(connection->state, DS_ESHUTDOWN, NULL, "The client was closed during the call");
        return true;
    }
    return false;
}

bool ds_py_wait_interrupted(void *unused)
{
    struct ds_py_wait *wait = waiting;

    (void)unused;
    if (wait == NULL || wait->ended) {
        return wait != NULL;
    }
    waiting = NULL; /* a handler's own calls come in between */
    PyEval_RestoreThread(wait->thread);
    wait->ended = end_wait(wait->connection);
    wait->thread = PyEval_SaveThread();
    waiting = wait;
    return wait->ended;
}

/* --- opening --- */

static int connection_open(struct ds_py_connection *self, struct ds_client_options *options)
{
    char reason[DS_REASON_SIZE] = "";
    struct ds_client *client = NULL;
    int rc;

    options->ret_reason = reason;
    options->reason_size = sizeof(reason);
    options->interrupted = ds_py_wait_interrupted;
    PyThreadState *thread = PyEval_SaveThread();
    rc = ds_client_open(options, &client);
    PyEval_RestoreThread(thread);
    if (rc < 0) {
        ds_py_fail_hint(self->state, rc, NULL, "", "Cannot connect: %s", reason);
        return -1;
    }
    self->client = client;
    self->id = ++self->state->last_connection_id;
    return 0;
}

static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"host",      "port", "connect_timeout_ms", "request_timeout_ms",
                            "tenant_id", NULL};
    struct ds_client_options options;
    struct ds_py_connection *self;
    struct ds_py_state *state = ds_py_state_of(type);

    if (state == NULL) {
        return NULL;
    }
    ds_client_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sHiis", names, &options.host, &options.port,
                                     &options.connect_timeout_ms, &options.request_timeout_ms,
                                     &options.tenant_id)) {
        return NULL;
    }
    if (options.connect_timeout_ms < CONNECT_TIMEOUT_MS_MIN) {
        return ds_py_fail(state, DS_EINVAL, NULL,
                          "The connectTimeoutMs(%d) should be greater than or equal to %d "
                          "milliseconds",
                          options.connect_timeout_ms, CONNECT_TIMEOUT_MS_MIN);
    }
    self = (struct ds_py_connection *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->request_timeout_ms =
        options.request_timeout_ms > 0 ? options.request_timeout_ms : options.connect_timeout_ms;
    if (connection_open(self, &options) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void connection_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    connection_end((struct ds_py_connection *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

/* --- methods --- */

static PyObject *connection_close(PyObject *object, PyObject *unused)
{
    struct ds_py_connection *self = (struct ds_py_connection *)object;

    (void)unused;
    /* In a child, calls of the parent's other threads never end. */
    if (self->calls > 0 && !ds_client_forked(self->client)) {
        self->closing = true;
    } else {
        connection_end(self);
    }
    Py_RETURN_NONE;
}

static PyObject *connection_closed(PyObject *object, void *unused)
{
    const struct ds_py_connection *self = (struct ds_py_connection *)object;

    (void)unused;
    return PyBool_FromLong(self->client == NULL || self->closing);
}

static PyObject *connection_forked(PyObject *object, void *unused)
{
    const struct ds_py_connection *self = (struct ds_py_connection *)object;

    (void)unused;
    return PyBool_FromLong(self->client != NULL && ds_client_forked(self->client));
}

static PyObject *connection_health(PyObject *object, PyObject *unused)
{
    struct ds_py_connection *self = (struct ds_py_connection *)object;
    struct ds_py_call call;
    struct ds_py_wait wait;
    int rc;

    (void)unused;
    if (ds_py_call_start(self->state, self, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(self, &wait);
    rc = ds_py_wait_end(&wait, ds_client_health(call.client));
    ds_py_call_end(&call);
    return PyErr_Occurred() != NULL ? NULL : PyLong_FromLong(-rc);
}

static const struct {
    const char *name;
    size_t offset;
} stats_fields[] = {
#define METRIC(field, json, label, prometheus, tier, kind, unit, sentence)                         \
    {#field, offsetof(struct ds_worker_stats, field)},
#include "base/worker_metrics.def"
#undef METRIC
};

static PyObject *stats_to_dict(const struct ds_worker_stats *stats)
{
    PyObject *dict = PyDict_New();

    for (size_t i = 0; dict != NULL && i < Py_ARRAY_LENGTH(stats_fields); i++) {
        const char *at = (const char *)stats + stats_fields[i].offset;
        PyObject *value = PyLong_FromUnsignedLongLong(*(const uint64_t *)(const void *)at);

        if (value == NULL || PyDict_SetItemString(dict, stats_fields[i].name, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *connection_stats(PyObject *object, PyObject *unused)
{
    struct ds_py_connection *self = (struct ds_py_connection *)object;
    struct ds_worker_stats stats;
    struct ds_py_call call;
    struct ds_py_wait wait;
    int rc;

    (void)unused;
    if (ds_py_call_start(self->state, self, &call) < 0) {
        return NULL;
    }
    ds_py_wait_begin(self, &wait);
    rc = ds_py_wait_end(&wait, ds_client_stats(call.client, &stats));
    ds_py_call_end(&call);
    if (rc < 0) {
        return ds_py_fail_call(self->state, rc, NULL, "read the worker's figures");
    }
    return stats_to_dict(&stats);
}

static PyMethodDef connection_methods[] = {
    {"close", connection_close, METH_NOARGS, "close($self, /)\n--\n\nEnds the session."},
    {"health", connection_health, METH_NOARGS,
     "health($self, /)\n--\n\nAsks the worker; 0 or the code of the error."},
    {"stats", connection_stats, METH_NOARGS,
     "stats($self, /)\n--\n\nThe worker's figures, a dict."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef connection_getset[] = {
    {"closed", connection_closed, NULL, "Whether close() was called.", NULL},
    {"forked", connection_forked, NULL, "Whether it is that of a parent process.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_new, connection_new},
    {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_getset},
    {Py_tp_doc, "One session with a worker, shared by the clients that are built on it."},
    {0, NULL},
};

PyType_Spec ds_py_connection_spec = {
    .name = "yr.datasystem._ds.Connection",
    .basicsize = sizeof(struct ds_py_connection),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = connection_slots,
};
