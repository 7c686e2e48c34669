/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errors.c - raises the exceptions of yr.datasystem.errors.
 *
 * The classes are Python; they are imported when the first one is needed, so that the two modules
 * can import each other.
 */
#include "ds_py.h"

#include <stdarg.h>

/* *slot, or after the first call module.attribute. Borrowed. */
static PyObject *imported(PyObject **slot, const char *module_name, const char *attribute)
{
    PyObject *module;

    if (*slot != NULL) {
        return *slot;
    }
    module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    *slot = PyObject_GetAttrString(module, attribute);
    Py_DECREF(module);
    return *slot;
}

static void raise_error(struct ds_py_state *state, int code, PyObject *key, PyObject *detail)
{
    PyObject *make = imported(&state->make_error, "yr.datasystem.errors", "from_code");
    PyObject *error;

    if (make == NULL) {
        return;
    }
    error = PyObject_CallFunction(make, "iOO", -code, detail, key != NULL ? key : Py_None);
    if (error == NULL) {
        return;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

void *ds_py_fail(struct ds_py_state *state, int code, PyObject *key, const char *format, ...)
{
    va_list args;
    PyObject *detail;

    va_start(args, format);
    detail = PyUnicode_FromFormatV(format, args);
    va_end(args);
    if (detail != NULL) {
        raise_error(state, code, key, detail);
        Py_DECREF(detail);
    }
    return NULL;
}

void *ds_py_fail_call(struct ds_py_state *state, int code, PyObject *key, const char *what)
{
    if (key == NULL) {
        return ds_py_fail(state, code, NULL, "Cannot %s", what);
    }
    return ds_py_fail(state, code, key, "Cannot %s key %R", what, key);
}

PyObject *ds_py_status(struct ds_py_state *state, int code, const char *detail)
{
    PyObject *make = imported(&state->make_status, "yr.datasystem.util", "Status");

    if (make == NULL) {
        return NULL;
    }
    return PyObject_CallFunction(make, "is", -code, detail);
}
