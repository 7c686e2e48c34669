# SPDX-License-Identifier: Apache-2.0
"""The samples of the original's README, unchanged but for the port."""

from yr.datasystem.ds_client import DsClient


def test_kv_sample(worker):
    client = DsClient("127.0.0.1", worker.port)
    client.init()
    key = "key"
    expected_val = b"value"
    client.kv().set(key, expected_val)
    val = client.kv().get([key])
    assert val[0] == expected_val
    client.kv().delete([key])


def test_object_sample(worker):
    client = DsClient("127.0.0.1", worker.port)
    client.init()
    key = "key"
    client.object().g_increase_ref([key])
    value = bytes("val", encoding="utf8")
    size = len(value)
    buf = client.object().create(key, size)
    buf.memory_copy(value)
    buf.publish()
    buffer_list = client.get([key], True)
    assert bytes(buffer_list[0].immutable_data()) == value
    client.g_decrease_ref([key])
    assert client.kv().exist([key]) == [False]
