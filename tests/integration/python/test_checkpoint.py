# SPDX-License-Identifier: Apache-2.0
"""torch.distributed.checkpoint over the key-value API. Most needs PyTorch, which is optional.

make torch-test
"""

import subprocess
import sys
import threading
import warnings

import pytest

from yr.datasystem import checkpoint
from yr.datasystem.errors import DsError, InvalidParameterError, NotFoundError
from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import WriteMode

try:
    import torch
    import torch.distributed.checkpoint as dcp
except ImportError as e:
    torch, WHY = None, f"PyTorch with torch.distributed is not installed: {e}"
else:
    WHY = ""

needs_torch = pytest.mark.skipif(torch is None, reason=WHY)
MEMORY = WriteMode.NONE_L2_CACHE
RANKS = """
import sys
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from yr.datasystem.checkpoint import KVStorageWriter
from yr.datasystem.kv_client import KVClient

rank, store, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
whole = torch.arange(7 * 5, dtype=torch.float32).reshape(7, 5)
state = {"sharded": distribute_tensor(whole, mesh, [Shard(0)]), "same": torch.ones(3)}
with KVClient("127.0.0.1", port) as kv:
    dcp.save(state, storage_writer=KVStorageWriter(kv, "ranks"))
dist.destroy_process_group()
"""


@pytest.fixture(name="second")
def second_fixture(tmp_path):
    return {"shared_memory_size_mb": 64, "l2_cache_type": "sfs", "sfs_path": tmp_path / "l2"}


@pytest.fixture(autouse=True)
def no_warnings_of_one_process():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def client(worker):
    kv = KVClient(worker.host, worker.port)
    kv.init()
    return kv


def some_state():
    """All element types that have bytes, and shapes that are easily got wrong."""
    kinds = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64".split()
    kinds += ["float8_e4m3fn", "float8_e5m2"]
    wide = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {name: wide.to(getattr(torch, name)) for name in kinds}
    state["transposed"] = wide.t()
    state["every other"] = wide[:, ::2]
    state["conjugated"] = (wide * (1 + 2j)).conj()
    state["scalar"] = torch.tensor(3.5)
    state["empty"] = torch.empty(0, 5)
    state["parameter"] = torch.nn.Parameter(wide + 1)
    state["nested"] = {"step": 17, "name": "Adam", "list": [1, 2.5, None]}
    state["a name / with: ünusual* letters"] = torch.full((3,), 7.0)
    return state


def like(state):
    return {
        k: torch.zeros_like(v, memory_format=torch.contiguous_format)
        if torch.is_tensor(v) else dict.fromkeys(v, "not loaded") if isinstance(v, dict) else v
        for k, v in state.items()
    }  # fmt: skip


def same(one, other):
    if not torch.is_tensor(one):
        return one == other
    one, other = one.detach().resolve_conj(), other.detach().resolve_conj()
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*as_bytes)


def save(kv, state, name="c", mode=MEMORY):
    dcp.save(state, storage_writer=checkpoint.KVStorageWriter(kv, name, mode))


def load(kv, state, name="c"):
    dcp.load(state, storage_reader=checkpoint.KVStorageReader(kv, name))
    return state


def loaded(kv, state, name="c"):
    return load(kv, like(state), name)


def data_keys(kv, name="c", rank=0):
    from yr.datasystem import _dcp

    return _dcp._written_keys(kv, f"{_dcp._base_of(name)}:written:{rank}")


def metadata_key(name="c"):
    from yr.datasystem import _dcp

    return _dcp._metadata_key(_dcp._base_of(name), None)


class Failing:
    """A client whose call `name` raises from the moment `when(argument)` holds."""

    def __init__(self, kv, name, when):
        self._kv, self._name, self._when = kv, name, when

    def __getattr__(self, name):
        call = getattr(self._kv, name)

        def wrapped(argument=None, *args):
            if name == self._name and self._when(argument):
                raise DsError(7, "on purpose")
            return call(argument, *args) if argument is not None else call()

        return wrapped


def failure(call, *args):
    """The storage's own error, out of PyTorch's."""
    with pytest.raises(dcp.api.CheckpointException) as caught:
        call(*args)
    return caught.value.failures[0][0]


# --- without PyTorch ---


def test_errors_need_no_torch_and_the_rest_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from yr.datasystem import checkpoint\n"
        "assert issubclass(checkpoint.CheckpointNotFoundError, RuntimeError)\n"
        "try: checkpoint.KVStorageWriter\n"
        "except ImportError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'ds-cache[torch]'" in done.stdout


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Writer'"):
        checkpoint.Writer  # pylint: disable=pointless-statement
    assert "KVStorageReader" in dir(checkpoint)


def test_importing_it_does_not_import_torch():
    code = "import sys, yr.datasystem.checkpoint as c; dir(c); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- with it ---


@needs_torch
def test_what_is_saved_is_loaded(worker):
    state = some_state()
    with client(worker) as kv:
        save(kv, state)
        back = loaded(kv, state)
    assert [k for k in state if not same(state[k], back[k])] == []


@needs_torch
def test_read_only_memory_gives_no_warning(worker):
    with client(worker) as kv, warnings.catch_warnings():
        warnings.filterwarnings("error", message="The given buffer")
        save(kv, {"t": torch.ones(9)}, "quiet")
        loaded(kv, {"t": torch.ones(9)}, "quiet")


@needs_torch
def test_write_through_survives_the_end_of_everything(start_worker, second):
    worker = start_worker(**second)
    state = {f"t{i}": torch.randn(1 << 20) for i in range(24)}  # 96 MiB: more than the memory
    with client(worker) as kv:
        save(kv, state, mode=WriteMode.WRITE_THROUGH_L2_CACHE)
    worker.kill()
    worker = start_worker(**second)
    with client(worker) as kv:
        back = loaded(kv, state)
    assert [k for k in state if not same(state[k], back[k])] == []


@needs_torch
def test_async_save_by_write_back_survives_a_kill_before_its_upload(
    start_worker, second, tmp_path
):
    second.update(write_back_directory=tmp_path / "j", l2_cache_async_write_rate_limit_mb=1)
    worker = start_worker(**second)
    state = {f"t{i}": torch.randn(1 << 18) for i in range(16)}
    with client(worker) as kv:
        writer = checkpoint.KVStorageWriter(kv, "c", WriteMode.WRITE_BACK_L2_CACHE)
        dcp.async_save(state, storage_writer=writer).result()
        assert kv.worker_stats()["l2_waiting"] > 0
        with pytest.raises(DsError, match="uploads go on"):
            writer.wait_uploaded(0)
    worker.kill()
    second["l2_cache_async_write_rate_limit_mb"] = 0
    worker = start_worker(**second)
    with client(worker) as kv:
        back = loaded(kv, state)
        checkpoint.KVStorageWriter(kv).wait_uploaded()
    assert [k for k in state if not same(state[k], back[k])] == []
    worker.kill()
    del second["write_back_directory"]
    worker = start_worker(**second)
    with client(worker) as kv:
        assert same(loaded(kv, state)["t3"], state["t3"])


@needs_torch
def test_two_ranks_save_shards_and_one_loads_the_whole(start_worker, second, tmp_path):
    worker = start_worker(**second)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANKS, str(rank), tmp_path / "store", str(worker.port)]
        )
        for rank in range(2)
    ]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    with client(worker) as kv:
        assert len(data_keys(kv, "ranks", 0)) + len(data_keys(kv, "ranks", 1)) == 3
        state = {"sharded": torch.zeros(7, 5), "same": torch.zeros(3)}
        load(kv, state, "ranks")
        checkpoint.delete_checkpoint(kv, "ranks")
        assert kv.worker_stats()["objects"] == 0
    assert torch.equal(state["sharded"], torch.arange(35.0).reshape(7, 5))
    assert torch.equal(state["same"], torch.ones(3))


@needs_torch
@pytest.mark.parametrize("point", ["metadata", "data"])
def test_a_save_that_fails_leaves_the_former_checkpoint(start_worker, point):
    worker = start_worker(shared_memory_size_mb=64)
    old, new = ({f"t{i}": torch.full((4,), v) for i in range(3)} for v in (1.0, 2.0))
    with client(worker) as kv:
        save(kv, old)
        objects = kv.worker_stats()["objects"]
        former = data_keys(kv)
        if point == "metadata":
            failing = Failing(kv, "set", lambda key: key == metadata_key())
        else:
            failing = Failing(kv, "mset_buffer", lambda _: True)
        assert "on purpose" in str(failure(save, failing, new))
        assert same(loaded(kv, old)["t1"], old["t1"])
        assert kv.exist(former) == [True] * 3
        left = [k for k in data_keys(kv) if k not in former]
        save(kv, new)
        assert same(loaded(kv, old)["t1"], new["t1"])
        assert not any(kv.exist(former + left))
        assert kv.worker_stats()["objects"] == objects


@needs_torch
def test_former_values_that_cannot_be_deleted_go_with_the_next_save(worker):
    with client(worker) as kv:
        save(kv, {"t": torch.ones(4)}, "again")
        first = data_keys(kv, "again")
        failing = Failing(kv, "delete", lambda keys: first[0] in keys)
        save(failing, {"t": torch.zeros(4)}, "again")
        assert kv.exist(first) == [True]
        save(kv, {"t": torch.zeros(4)}, "again")
        assert kv.exist(first) == [False]


@needs_torch
def test_a_load_during_saves_gets_one_of_them_or_is_told(worker):
    stop, wrong = threading.Event(), []

    def read():
        with client(worker) as own:
            while not stop.is_set():
                state = {f"t{i}": torch.zeros(64) for i in range(8)}
                try:
                    load(own, state, "racy")
                except dcp.api.CheckpointException as e:
                    if type(e.failures[0][0]) is not checkpoint.CheckpointIncompleteError:
                        wrong.append(e)
                    continue
                if len({float(t[0]) for t in state.values()}) != 1:
                    wrong.append(state)

    with client(worker) as kv:
        save(kv, {f"t{i}": torch.zeros(64) for i in range(8)}, "racy")
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for step in range(40):
                save(kv, {f"t{i}": torch.full((64,), float(step)) for i in range(8)}, "racy")
        finally:
            stop.set()
            reader.join()
    assert wrong == []


@needs_torch
def test_a_missing_checkpoint_has_its_own_error(worker):
    with client(worker) as kv:
        error = failure(load, kv, {"t": torch.ones(1)}, "nothing")
        assert "there is no such checkpoint" in str(error)
        with pytest.raises(checkpoint.CheckpointNotFoundError):
            checkpoint.KVStorageReader(kv, "nothing").read_metadata()


@needs_torch
def test_a_missing_value_has_its_own_error(worker):
    with client(worker) as kv:
        save(kv, {"a": torch.ones(4), "b": torch.ones(4)}, "part")
        for keys in (data_keys(kv, "part")[:1], data_keys(kv, "part")):  # some, then all
            kv.delete(keys)
            error = failure(load, kv, {"a": torch.ones(4), "b": torch.ones(4)}, "part")
            assert isinstance(error, checkpoint.CheckpointIncompleteError)
            assert isinstance(error, NotFoundError) and error.key in data_keys(kv, "part")


@needs_torch
def test_foreign_values_have_their_own_error(worker):
    from yr.datasystem import _dcp

    state = {"t": torch.ones(4)}
    with client(worker) as kv:
        for value in (b"something else", _dcp.MAGIC, _dcp.MAGIC + b"\x80\x04N."):
            kv.set(metadata_key("foreign"), value)
            with pytest.raises(checkpoint.CheckpointFormatError, match="no metadata"):
                checkpoint.KVStorageReader(kv, "foreign").read_metadata()
        save(kv, state, "foreign")  # as over nothing
        kv.set(data_keys(kv, "foreign")[0], b"short")
        error = failure(load, kv, dict(state), "foreign")
        assert isinstance(error, checkpoint.CheckpointFormatError)
        assert "5 bytes instead of 16" in str(error)
        kv.set(f"{_dcp._base_of('foreign')}:written:0", b"[")
        assert isinstance(failure(save, kv, state, "foreign"), checkpoint.CheckpointFormatError)


@needs_torch
def test_a_state_of_another_shape_is_refused(worker):
    with client(worker) as kv:
        save(kv, {"t": torch.ones(4, 4)}, "shape")
        error = failure(load, kv, {"t": torch.ones(5, 5)}, "shape")
    assert "ize mismatch" in str(error)


@needs_torch
def test_bad_arguments_are_refused(worker):
    with client(worker) as kv:
        for mode in ("NONE", None, WriteMode.NONE_L2_CACHE_EVICT):
            with pytest.raises(InvalidParameterError, match="write_mode"):
                checkpoint.KVStorageWriter(kv, "c", mode)
        for name in (None, "", 5):
            with pytest.raises(InvalidParameterError, match="checkpoint_id"):
                checkpoint.KVStorageReader(kv, name).read_metadata()
        state = {"t": torch.ones(1)}
        error = failure(save, kv, state, "c", WriteMode.WRITE_THROUGH_L2_CACHE)
        assert "L2_cache_type is set to none" in str(error)


@needs_torch
def test_names_that_differ_are_other_checkpoints(worker, tmp_path):
    names = ["a/b", "a_b", "ä b", "x" * 3000, tmp_path / "c"]
    with client(worker) as kv:
        for i, name in enumerate(names):
            save(kv, {"t": torch.full((2,), float(i))}, name)
        for i, name in enumerate(names):
            state = load(kv, {"t": torch.zeros(2)}, name)
            assert float(state["t"][0]) == i


@needs_torch
def test_a_deleted_checkpoint_leaves_nothing(start_worker):
    worker = start_worker(shared_memory_size_mb=64)
    with client(worker) as kv:
        save(kv, some_state())
        failing = Failing(kv, "set", lambda key: key == metadata_key())
        failure(save, failing, some_state())
        checkpoint.delete_checkpoint(kv, "c")
        assert kv.worker_stats()["objects"] == 0
        checkpoint.delete_checkpoint(kv, "c")


@needs_torch
def test_ranks_without_collectives_have_metadata_of_their_own(start_worker):
    worker = start_worker(shared_memory_size_mb=64)
    with client(worker) as kv:
        writer = checkpoint.KVStorageWriter(kv, "alone", MEMORY)
        dcp.save({"t": torch.ones(3)}, storage_writer=writer, use_collectives=False)
        assert kv.exist([metadata_key("alone"), metadata_key("alone") + ":0"]) == [False, True]
        assert torch.equal(load(kv, {"t": torch.zeros(3)}, "alone")["t"], torch.ones(3))
        checkpoint.delete_checkpoint(kv, "alone")
        assert kv.worker_stats()["objects"] == 0
