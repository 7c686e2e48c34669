# SPDX-License-Identifier: Apache-2.0
"""The trace id of the current thread, which errors carry."""

import threading

_local = threading.local()


def current_trace_id() -> str:
    return getattr(_local, "trace_id", "")


def set_current_trace_id(trace_id: str) -> None:
    _local.trace_id = trace_id
