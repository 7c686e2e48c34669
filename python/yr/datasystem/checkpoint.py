# SPDX-License-Identifier: Apache-2.0
"""torch.distributed.checkpoint over the key-value API: pip install 'ds-cache[torch]'.

    import torch.distributed.checkpoint as dcp
    from yr.datasystem import KVClient
    from yr.datasystem.checkpoint import KVStorageReader, KVStorageWriter

    with KVClient("127.0.0.1", 31501) as kv:
        dcp.save(state, storage_writer=KVStorageWriter(kv, "run-7/step-100"))
        dcp.load(state, storage_reader=KVStorageReader(kv, "run-7/step-100"))

Each item of a save plan (a tensor, a shard of one, or an object) is one value, written straight
into shared memory. Its key is new in every save. The metadata is stored last, by one set: until
then a reader gets the checkpoint that was there before, whole. After it the former values are
deleted, so a load that runs while the same checkpoint is saved again may end with a
CheckpointIncompleteError; load again. What a killed save left is deleted by the next save of that
checkpoint, or by delete_checkpoint(). One save per checkpoint at a time.

The metadata is a pickle, as in PyTorch's own readers: load only what you trust.

PyTorch is imported when one of its users here is asked for: KVStorageWriter, KVStorageReader,
delete_checkpoint. PyTorch wraps errors of storage in its CheckpointException, which is no
Exception; those below are in its `failures`, by rank. dcp.load() of a checkpoint that is missing
has an AssertionError there, with the text of ours.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from yr.datasystem.errors import DataInconsistencyError, NotFoundError

if TYPE_CHECKING:
    from yr.datasystem._dcp import KVStorageReader as KVStorageReader
    from yr.datasystem._dcp import KVStorageWriter as KVStorageWriter
    from yr.datasystem._dcp import delete_checkpoint as delete_checkpoint

__all__ = [
    "KVStorageWriter",
    "KVStorageReader",
    "delete_checkpoint",
    "CheckpointNotFoundError",
    "CheckpointIncompleteError",
    "CheckpointFormatError",
]

_OF_TORCH = ("KVStorageWriter", "KVStorageReader", "delete_checkpoint")


class CheckpointNotFoundError(NotFoundError):
    """There is no checkpoint of that name, or its save did not finish."""


class CheckpointIncompleteError(NotFoundError):
    """Values that the metadata names are gone: deleted, evicted, or not uploaded yet."""


class CheckpointFormatError(DataInconsistencyError):
    """What is stored is not a checkpoint, or not one that this version can read."""


def __getattr__(name: str) -> Any:
    if name not in _OF_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module("yr.datasystem._dcp"), name)
    except ImportError as e:
        raise ImportError(
            f"{name} needs torch.distributed.checkpoint: pip install 'ds-cache[torch]' ({e})"
        ) from e
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
