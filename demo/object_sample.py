#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The object sample: take a reference, create, fill and publish a buffer, get it, give it back.

Start a worker first: dscli start -w --worker_address 127.0.0.1:31501
"""
import time

from yr.datasystem.ds_client import DsClient

import common


def sample(host, port):
    client = DsClient(host, port)
    client.init()

    key = "key"
    client.object().g_increase_ref([key])

    # A buffer in shared memory, filled in place.
    value = bytes("val", encoding="utf8")
    size = len(value)
    buf = client.object().create(key, size)
    buf.memory_copy(value)
    buf.publish()

    # Another look at the same bytes, without a copy.
    buffer_list = client.get([key], True)
    assert bytes(buffer_list[0].immutable_data()) == value

    # The last reference takes the object with it.
    client.g_decrease_ref([key])


if __name__ == "__main__":
    args = common.parser(__doc__).parse_args()
    begin = time.perf_counter()
    sample(args.host, args.port)
    spent = common.ms(time.perf_counter() - begin)
    print(f"object sample: connect, create, fill, publish, get, dereference in {spent}")
    common.add_row(args.row, "Object sample", "value equal", f"{spent} with connecting")
