# SPDX-License-Identifier: Apache-2.0
"""Status and Context."""

import re

from yr.datasystem import _ds
from yr.datasystem._check import check_type
from yr.datasystem._trace import set_current_trace_id
from yr.datasystem.errors import invalid

__all__ = ["Status", "Context"]

_TRACE_ID_SIZE_MAX = 36
_TRACE_ID = re.compile(r"[a-zA-Z0-9~.\-/_!@#%^&*()+=:;]*")


class Status:
    """The outcome of a call that reports instead of raising."""

    __slots__ = ("_code", "_msg")

    def __init__(self, code: int = 0, msg: str = "") -> None:
        self._code = code
        self._msg = msg

    def is_ok(self) -> bool:
        return self._code == 0

    def is_error(self) -> bool:
        return self._code != 0

    def get_code(self) -> int:
        return self._code

    def get_msg(self) -> str:
        return self._msg

    def to_string(self) -> str:
        return f"code: [{_ds.error_info(self._code)[0]}], msg: [{self._msg}]"

    def __repr__(self) -> str:
        return f"<Status {self.to_string()}>"


class Context:
    """What holds for the calls of one thread."""

    @staticmethod
    def set_trace_id(trace_id: str) -> None:
        """Errors of this thread carry the id from now on; "" ends that."""
        check_type("trace_id", trace_id, str)
        if len(trace_id) > _TRACE_ID_SIZE_MAX:
            raise invalid(
                f"The length of trace id should be no more than {_TRACE_ID_SIZE_MAX}: "
                f"{len(trace_id)}"
            )
        if _TRACE_ID.fullmatch(trace_id) is None:
            raise invalid(f"The trace id contains illegal char(s): {trace_id!r}")
        set_current_trace_id(trace_id)
