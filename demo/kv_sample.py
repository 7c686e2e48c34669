#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The key-value sample: set a value, get it, delete it.

Start a worker first: dscli start -w --worker_address 127.0.0.1:31501
"""
import time

from yr.datasystem.ds_client import DsClient

import common


def sample(host, port):
    client = DsClient(host, port)
    client.init()

    key = "key"
    expected_val = b"value"
    client.kv().set(key, expected_val)

    val = client.kv().get([key])
    assert val[0] == expected_val

    client.kv().delete([key])


if __name__ == "__main__":
    args = common.parser(__doc__).parse_args()
    begin = time.perf_counter()
    sample(args.host, args.port)
    spent = common.ms(time.perf_counter() - begin)
    print(f"key-value sample: connect, set, get, delete in {spent}")
    common.add_row(args.row, "KV sample", "value equal", f"{spent} with connecting")
