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

/* A signal handler ended the call with an exception of its own. */
static bool raised_already(int code)
{
    return code == DS_EINTERRUPTED && PyErr_Occurred() != NULL;
}

/* `hint`: NULL for that of the code. Takes `detail`, which may be NULL with an exception set. */
static void raise_error(struct ds_py_state *state, int code, PyObject *key, const char *hint,
                        PyObject *detail)
{
    PyObject *make =
        detail != NULL ? imported(&state->make_error, "yr.datasystem.errors", "from_code") : NULL;
    PyObject *error = NULL;

    if (make != NULL) {
        error =
            PyObject_CallFunction(make, "iOOz", -code, detail, key != NULL ? key : Py_None, hint);
    }
    Py_XDECREF(detail);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
}

void *ds_py_fail(struct ds_py_state *state, int code, PyObject *key, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!raised_already(code)) {
        raise_error(state, code, key, NULL, PyUnicode_FromFormatV(format, args));
    }
    va_end(args);
    return NULL;
}

void *ds_py_fail_hint(struct ds_py_state *state, int code, PyObject *key, const char *hint,
                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!raised_already(code)) {
        raise_error(state, code, key, hint, PyUnicode_FromFormatV(format, args));
    }
    va_end(args);
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
    PyObject *make;

    if (raised_already(code)) {
        return NULL;
    }
    make = imported(&state->make_status, "yr.datasystem.util", "Status");
    if (make == NULL) {
        return NULL;
    }
    return PyObject_CallFunction(make, "is", -code, detail);
}
