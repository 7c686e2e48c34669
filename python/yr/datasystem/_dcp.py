# SPDX-License-Identifier: Apache-2.0
"""The part of yr.datasystem.checkpoint that needs PyTorch; see there.

Keys of a checkpoint, where <base> is "dcp:", a readable part of its name and a hash of all of it:

    <base>:<save>:<n>    the n-th item that one rank wrote in one save
    <base>:written:<r>   JSON: the keys that rank r wrote and that may still be there
    <base>:metadata      MAGIC and a pickled Metadata, whose storage_data maps to _Stored
    <base>:metadata:<r>  the same of one rank, where a save uses no collectives
"""

import hashlib
import io
import json
import os
import pickle
import re
import time
import uuid
import warnings
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

import torch
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
)
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from yr.datasystem._enums import WriteMode
from yr.datasystem.checkpoint import (
    CheckpointFormatError,
    CheckpointIncompleteError,
    CheckpointNotFoundError,
)
from yr.datasystem.errors import DsError, NotFoundError, from_code, invalid
from yr.datasystem.kv_client import KVClient

CheckpointId = Union[str, "os.PathLike[str]", None]

MAGIC = b"ds-dcp-1\n"
BATCH_BYTES = 64 << 20
BATCH_SHARE = 16  # and at most this part of the memory: a checkpoint may exceed it
BATCH_KEYS = 1000
DELETE_KEYS = 10000
POLL_S = 0.01
K_NOT_FOUND, K_DATA_INCONSISTENCY, K_DEADLINE_EXCEEDED = 3, 20, 1001
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9.\-_]")


@dataclass(frozen=True)
class _Stored:
    """Where an item is, and how to make it again from bytes. Pickled in the metadata."""

    key: str  # of an empty item nothing is stored
    size: int
    kind: str  # "bytes", "raw" (a tensor's memory) or "torch" (of torch.save)
    dtype: Optional[torch.dtype] = None
    shape: Optional[Tuple[int, ...]] = None


def _base_of(checkpoint_id: CheckpointId) -> str:
    if not isinstance(checkpoint_id, (str, os.PathLike)) or not os.fspath(checkpoint_id):
        raise invalid(f"checkpoint_id {checkpoint_id!r}: give a name, as in 'run-7/step-100'")
    name = str(os.fspath(checkpoint_id))
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"dcp:{_NOT_IN_KEYS.sub('_', name)[-100:]}:{digest}"


def _metadata_key(base: str, rank: Optional[int]) -> str:
    return f"{base}:metadata" if rank is None else f"{base}:metadata:{rank}"


def _get(kv: KVClient, key: str) -> Optional[bytes]:
    try:
        return bytes(kv.get([key])[0])
    except NotFoundError:
        return None


def _delete(kv: KVClient, keys: Iterable[str]) -> None:
    listed = list(keys)
    for i in range(0, len(listed), DELETE_KEYS):
        kv.delete(listed[i : i + DELETE_KEYS])


def _read_metadata(kv: KVClient, base: str, rank: Optional[int]) -> Metadata:
    key = _metadata_key(base, rank)
    value = _get(kv, key)
    if value is None:
        detail = "there is no such checkpoint, or its save did not finish"
        raise CheckpointNotFoundError(K_NOT_FOUND, detail, key)
    try:
        if not value.startswith(MAGIC):
            raise ValueError("it starts with other bytes")
        metadata = pickle.loads(value[len(MAGIC) :])
        if not all(isinstance(s, _Stored) for s in metadata.storage_data.values()):
            raise ValueError("its items are unknown")
    except Exception as e:  # a pickle can raise anything
        detail = f"no metadata that this version can read: {e}"
        raise CheckpointFormatError(K_DATA_INCONSISTENCY, detail, key) from e
    return metadata


def _live_keys(kv: KVClient, base: str, rank: Optional[int]) -> Dict[str, None]:
    """Keys of the checkpoint that is there now, in order; none if none can be read."""
    try:
        metadata = _read_metadata(kv, base, rank)
    except (CheckpointNotFoundError, CheckpointFormatError):
        return {}
    return dict.fromkeys(s.key for s in metadata.storage_data.values())


def _written_keys(kv: KVClient, key: str) -> List[str]:
    value = _get(kv, key)
    try:
        return [str(k) for k in json.loads(value)] if value else []
    except (ValueError, TypeError) as e:
        raise CheckpointFormatError(K_DATA_INCONSISTENCY, f"no list of keys: {e}", key) from e


def delete_checkpoint(kv: KVClient, checkpoint_id: CheckpointId) -> None:
    """Deletes a checkpoint and what saves of it that did not finish left. Fine if there is none.

    The metadata goes first: no reader sees a part.
    """
    base = _base_of(checkpoint_id)
    doomed = _live_keys(kv, base, None)
    kv.delete([_metadata_key(base, None)])
    rank = 0
    while True:
        record, own = f"{base}:written:{rank}", _metadata_key(base, rank)
        if not any(kv.exist([record, own])):
            break
        doomed.update(_live_keys(kv, base, rank))
        doomed.update(dict.fromkeys(_written_keys(kv, record)))
        kv.delete([own])
        _delete(kv, doomed)
        kv.delete([record])
        doomed = {}
        rank += 1
    _delete(kv, doomed)


def _encode(data: Any) -> Tuple[str, Any, int]:
    """(kind, what to copy, its size)"""
    if isinstance(data, io.BytesIO):
        return "bytes", data.getbuffer(), data.getbuffer().nbytes
    plain = type(data) in (torch.Tensor, torch.nn.Parameter)
    if plain and data.layout is torch.strided and not data.is_quantized and not data.is_meta:
        return "raw", data.detach(), data.numel() * data.element_size()
    saved = io.BytesIO()
    torch.save(data, saved)
    return "torch", saved.getbuffer(), saved.getbuffer().nbytes


def _fill(memory: memoryview, source: Any) -> None:
    """One copy: also from a device, and of tensors that are not contiguous."""
    if isinstance(source, torch.Tensor):
        target = torch.frombuffer(memory, dtype=torch.uint8)
        target.view(source.dtype).view(source.shape).copy_(source)
    else:
        memory[:] = source


def _map(view: Any, stored: _Stored) -> torch.Tensor:
    """The stored tensor over the bytes of `view`, without a copy. It must not be written."""
    if stored.kind == "torch":
        loaded = torch.load(io.BytesIO(view), map_location="cpu", weights_only=True)
        assert isinstance(loaded, torch.Tensor)
        return loaded
    if stored.size == 0:
        return torch.empty(stored.shape, dtype=stored.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        flat = torch.frombuffer(view, dtype=torch.uint8)
    return flat.view(stored.dtype).view(stored.shape)


class KVStorageWriter(StorageWriter):
    """Saves checkpoints as values of a KVClient, which stays the caller's and must be open.

    WRITE_THROUGH (default): dcp.save() returns when second-level storage holds everything.
    WRITE_BACK: when the local disk's journal does; the upload goes on in the background, also
    after a kill. Other nodes can load it when wait_uploaded() has returned.
    NONE_L2_CACHE: memory alone, for checkpoints that may be lost with the node.
    Each rank has its own writer; dcp.async_save() with threads works as well.
    """

    def __init__(
        self,
        kv: KVClient,
        checkpoint_id: CheckpointId = None,
        write_mode: WriteMode = WriteMode.WRITE_THROUGH_L2_CACHE,
    ) -> None:
        if not isinstance(write_mode, WriteMode) or write_mode.name.endswith("EVICT"):
            raise invalid(f"write_mode {write_mode!r}: a checkpoint may not be evicted")
        super().__init__()
        self._kv = kv
        self._mode = write_mode
        self._id = checkpoint_id
        self._rank = 0
        self._own: Optional[int] = None  # rank in the metadata's key

    def reset(self, checkpoint_id: CheckpointId = None) -> None:
        if checkpoint_id:
            self._id = checkpoint_id

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self._rank = kwargs.get("rank") or 0
        self._own = None if kwargs.get("use_collectives", True) else self._rank
        _base_of(self._id)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: List[SavePlan]) -> List[SavePlan]:
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> "Future[List[WriteResult]]":
        base, save = _base_of(self._id), uuid.uuid4().hex
        keys = [f"{base}:{save}:{i}" for i in range(len(plan.items))]
        self._record(base, keys)
        limit = _batch_bytes(self._kv)
        results: List[WriteResult] = []
        batch: List[Tuple[_Stored, Any]] = []
        for item, key in zip(plan.items, keys):
            data = planner.resolve_data(item)
            kind, source, size = _encode(data)
            tensor = (source.dtype, tuple(source.shape)) if kind == "raw" else (None, None)
            stored = _Stored(key, size, kind, *tensor)
            results.append(WriteResult(item.index, size, stored))
            if size:
                batch.append((stored, source))
            if len(batch) == BATCH_KEYS or sum(s.size for s, _ in batch) >= limit:
                self._write(batch)
                batch = []
        self._write(batch)
        done: "Future[List[WriteResult]]" = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: List[List[WriteResult]]) -> None:
        base = _base_of(self._id)
        former = _live_keys(self._kv, base, self._own)
        metadata.storage_data = {r.index: r.storage_data for part in results for r in part}
        metadata.storage_meta = self.storage_meta()
        value = MAGIC + pickle.dumps(metadata)
        self._kv.set(_metadata_key(base, self._own), value, self._mode)
        try:
            _delete(self._kv, former)
        except DsError:
            pass  # the checkpoint is there; the next save deletes them, since they are recorded

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: CheckpointId) -> bool:
        return isinstance(checkpoint_id, (str, os.PathLike)) and bool(os.fspath(checkpoint_id))

    def wait_uploaded(self, timeout_s: float = 600) -> None:
        """Waits until all that this node wrote back is in second-level storage."""
        end = time.monotonic() + timeout_s
        while self._kv.worker_stats()["l2_waiting"]:
            if time.monotonic() > end:
                raise from_code(K_DEADLINE_EXCEEDED, f"uploads go on after {timeout_s} s")
            time.sleep(POLL_S)

    def _record(self, base: str, keys: List[str]) -> None:
        """Deletes what a save of this rank left that did not finish, and records the new keys."""
        record = f"{base}:written:{self._rank}"
        before = _written_keys(self._kv, record)
        live = _live_keys(self._kv, base, self._own)
        _delete(self._kv, [k for k in before if k not in live])
        value = json.dumps([k for k in before if k in live] + keys)
        self._kv.set(record, value, self._mode)

    def _write(self, batch: List[Tuple[_Stored, Any]]) -> None:
        if not batch:
            return
        stored = [s for s, _ in batch]
        buffers = self._kv.mcreate([s.key for s in stored], [s.size for s in stored], self._mode)
        for buffer, (_, source) in zip(buffers, batch):
            _fill(buffer.MutableData(), source)
        self._kv.mset_buffer(buffers)


class KVStorageReader(StorageReader):
    """Loads what KVStorageWriter saved, on any node that has the same second-level storage.

    Values are read in place, one copy goes from shared memory into the tensors of the state.
    """

    def __init__(self, kv: KVClient, checkpoint_id: CheckpointId = None) -> None:
        super().__init__()
        self._kv = kv
        self._id = checkpoint_id
        self._storage: Dict[Any, _Stored] = {}

    def reset(self, checkpoint_id: CheckpointId = None) -> None:
        self._storage = {}
        if checkpoint_id:
            self._id = checkpoint_id

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return _read_metadata(self._kv, _base_of(self._id), kwargs.get("rank"))

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        self._storage = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: List[LoadPlan]) -> List[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> "Future[None]":
        wanted: Dict[str, List[Tuple[_Stored, ReadItem]]] = {}
        for item in plan.items:
            stored = self._storage.get(item.storage_index)
            if stored is None:
                detail = f"the metadata has no {item.storage_index}"
                raise CheckpointFormatError(K_DATA_INCONSISTENCY, detail)
            wanted.setdefault(stored.key, []).append((stored, item))
        firsts = [items[0][0] for items in wanted.values()]
        for batch in _batches(firsts, _batch_bytes(self._kv)):
            for stored, view in zip(batch, self._views(batch)):
                for _, item in wanted[stored.key]:
                    _load(planner, item, stored, view)
        done: "Future[None]" = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: CheckpointId) -> bool:
        return KVStorageWriter.validate_checkpoint_id(checkpoint_id)

    def _views(self, batch: List[_Stored]) -> List[Any]:
        keys = [s.key for s in batch if s.size]
        try:
            found = iter(self._kv.get_buffers(keys) if keys else [])
        except NotFoundError:
            found = iter([None] * len(keys))
        views = [next(found) if s.size else b"" for s in batch]
        for stored, view in zip(batch, views):
            if view is None:
                detail = "a value of the checkpoint is gone, or not uploaded yet: load again"
                raise CheckpointIncompleteError(K_NOT_FOUND, detail, stored.key)
            if len(view) != stored.size:
                detail = f"a value has {len(view)} bytes instead of {stored.size}"
                raise CheckpointFormatError(K_DATA_INCONSISTENCY, detail, stored.key)
        return views


def _batch_bytes(kv: KVClient) -> int:
    """How much is held at a time, beyond one item."""
    return min(BATCH_BYTES, kv.worker_stats()["memory_size"] // BATCH_SHARE)


def _batches(items: List[_Stored], limit: int) -> Iterator[List[_Stored]]:
    batch: List[_Stored] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.size
        if len(batch) == BATCH_KEYS or size >= limit:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _load(planner: LoadPlanner, item: ReadItem, stored: _Stored, view: Any) -> None:
    if item.type == LoadItemType.BYTE_IO:
        planner.load_bytes(item, io.BytesIO(view))
        return
    tensor = narrow_tensor_by_index(_map(view, stored), item.storage_offsets, item.lengths)
    target = planner.resolve_tensor(item).detach()
    if target.size() != tensor.size():
        detail = f"{item.storage_index} has {tuple(tensor.size())} where {tuple(target.size())} go"
        raise CheckpointFormatError(K_DATA_INCONSISTENCY, detail, stored.key)
    target.copy_(tensor)
    planner.commit_tensor(item, target)
