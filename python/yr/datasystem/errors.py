# SPDX-License-Identifier: Apache-2.0
"""The errors of the datasystem.

All are RuntimeError, as in the original package, and their text is
``code: [Key not found], msg: [...]``. Beyond it they have a class, a number, a name, the key and a
hint, so that no program has to take the text apart.
"""

from typing import Dict, Optional, Tuple, Type

from yr.datasystem import _ds
from yr.datasystem._trace import current_trace_id

__all__ = [
    "DsError",
    "DuplicatedError",
    "InvalidParameterError",
    "NotFoundError",
    "OutOfMemoryError",
    "DsIOError",
    "NotReadyError",
    "NotAuthorizedError",
    "CallInterruptedError",
    "OutOfRangeError",
    "NoSpaceError",
    "TryAgainError",
    "DataInconsistencyError",
    "ShuttingDownError",
    "DisconnectedError",
    "VersionMismatchError",
    "DeadlockError",
    "NotSupportedError",
    "DeadlineExceededError",
    "UnavailableError",
    "AlreadySealedError",
    "NotInUseError",
    "AlreadyExistsError",
    "BufferDeprecatedError",
]


class DsError(RuntimeError):
    """A call failed.

    code    the status number, the same in all languages: 3
    name    its name: "K_NOT_FOUND"
    detail  what happened, the ``msg`` of the text
    key     the key it happened to (of a batch: the first one), or None
    hint    what to do about it
    """

    def __init__(
        self, code: int, detail: str = "", key: Optional[str] = None, hint: Optional[str] = None
    ) -> None:
        text, name, usual_hint = _ds.error_info(code)
        super().__init__(f"code: [{text}], msg: [{detail}]")
        self.code = code
        self.name = name
        self.detail = detail
        self.key = key
        self.hint = usual_hint if hint is None else hint

    def __reduce__(self) -> Tuple[type, Tuple[int, str, Optional[str], str]]:
        return type(self), (self.code, self.detail, self.key, self.hint)


class DuplicatedError(DsError):
    """K_DUPLICATED: the same key or buffer twice in one call."""


class InvalidParameterError(DsError):
    """K_INVALID: an argument is out of its range, or a key is not allowed."""


class NotFoundError(DsError):
    """K_NOT_FOUND: the key does not exist."""


class OutOfMemoryError(DsError):
    """K_OUT_OF_MEMORY: the worker's memory is full and nothing may be evicted."""


class DsIOError(DsError):
    """K_IO_ERROR: a system call failed."""


class NotReadyError(DsError):
    """K_NOT_READY: the client is not initialized, is closed, or is a forked parent's."""


class NotAuthorizedError(DsError):
    """K_NOT_AUTHORIZED: the worker refuses this user."""


class CallInterruptedError(DsError):
    """K_INTERRUPTED: a signal ended the call."""


class OutOfRangeError(DsError):
    """K_OUT_OF_RANGE: an offset or size lies outside the value."""


class NoSpaceError(DsError):
    """K_NO_SPACE: a disk is full."""


class TryAgainError(DsError):
    """K_TRY_AGAIN: call again."""


class DataInconsistencyError(DsError):
    """K_DATA_INCONSISTENCY: stored bytes do not match their checksum."""


class ShuttingDownError(DsError):
    """K_SHUTTING_DOWN: the client or the worker is being closed."""


class DisconnectedError(DsError):
    """K_CLIENT_WORKER_DISCONNECT: the worker went away."""


class VersionMismatchError(DsError):
    """K_CLIENT_WORKER_VERSION_MISMATCH: client and worker are too far apart."""


class DeadlockError(DsError):
    """K_CLIENT_DEADLOCK: waiting would wait for itself."""


class NotSupportedError(DsError):
    """K_NOT_SUPPORTED: not in this version, or not on this machine."""


class DeadlineExceededError(DsError):
    """K_RPC_DEADLINE_EXCEEDED: the time is up."""


class UnavailableError(DsError):
    """K_RPC_UNAVAILABLE: no worker at that address."""


class AlreadySealedError(DsError):
    """K_OC_ALREADY_SEALED: the object cannot change any more."""


class NotInUseError(DsError):
    """K_OC_OBJECT_NOT_IN_USED: no global reference is held."""


class AlreadyExistsError(DsError):
    """K_OC_KEY_ALREADY_EXIST: the key has a value."""


class BufferDeprecatedError(DsError):
    """K_BUFFER_DEPRECATED: the buffer was released, or its key has a newer object."""


_CLASSES: Dict[int, Type[DsError]] = {
    1: DuplicatedError,
    2: InvalidParameterError,
    3: NotFoundError,
    6: OutOfMemoryError,
    7: DsIOError,
    8: NotReadyError,
    9: NotAuthorizedError,
    11: CallInterruptedError,
    12: OutOfRangeError,
    13: NoSpaceError,
    19: TryAgainError,
    20: DataInconsistencyError,
    21: ShuttingDownError,
    23: DisconnectedError,
    28: VersionMismatchError,
    33: DeadlockError,
    36: NotSupportedError,
    1001: DeadlineExceededError,
    1002: UnavailableError,
    2000: AlreadySealedError,
    2001: NotInUseError,
    2004: AlreadyExistsError,
    2006: BufferDeprecatedError,
}

K_INVALID = 2
K_RUNTIME_ERROR = 5
K_NOT_READY = 8
K_NOT_SUPPORTED = 36


def from_code(
    code: int, detail: str, key: Optional[str] = None, hint: Optional[str] = None
) -> DsError:
    """The error of a status number; the C part raises through this.

    The hint is that of the code unless one is given; "" where the detail says it all.
    """
    if hint is None:
        hint = _ds.error_info(code)[2]
        shown = hint if code != K_INVALID else ""
    else:
        shown = hint
    if shown:
        detail = f"{detail}. Hint: {shown}"
    trace_id = current_trace_id()
    if trace_id:
        detail = f"{detail}, traceId: {trace_id}"
    return _CLASSES.get(code, DsError)(code, detail, key, hint)


def invalid(detail: str) -> DsError:
    """A value that is not allowed."""
    return from_code(K_INVALID, detail)


def not_supported(detail: str) -> DsError:
    """Something of the original API that this version does not have."""
    return from_code(K_NOT_SUPPORTED, detail, hint="")
