#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""This cache's Python client, as an adapter of the peer benchmark.

usage: ds.py HARNESS HOST:PORT OUT.json [options of pybench.py]

HARNESS is the directory that holds pybench.py and adapters.py. As a module it gives the class Ds.
"""
import os
import runpy
import sys


class Ds:
    """URL host:port. Views are lent in place; they end when the last reference to them does."""

    overwrites = True

    def open(self, url):
        from yr.datasystem.kv_client import KVClient

        host, port = url.rsplit(":", 1)
        self.client = KVClient(host, int(port), connect_timeout_ms=5000)
        self.client.init()

    def close(self):
        self.client.close()

    def prepare(self, array):
        return memoryview(array)

    def release(self, view):
        pass

    def release_many(self, views):
        pass

    def set(self, key, value):
        self.client.set(key, value)

    def set_zc(self, key, value):
        buffers = self.client.mcreate([key], [len(value)])
        buffers[0].MutableData()[:] = value
        self.client.mset_buffer(buffers)

    def get(self, key):
        return self.client.get_buffers([key])[0]

    def get_copy(self, key):
        return self.client.get([key])[0]

    def delete(self, keys):
        self.client.delete(keys)

    def mset(self, keys, value):
        self.client.mset(keys, [value] * len(keys))

    def mget(self, keys):
        return self.client.get_buffers(keys)

    def mget_copy(self, keys):
        return self.client.get(keys)


def main():
    if len(sys.argv) < 4 or not os.path.isfile(os.path.join(sys.argv[1], "pybench.py")):
        sys.exit(__doc__)
    harness = sys.argv[1]
    sys.path.insert(0, harness)
    import adapters

    adapters.Ds = Ds
    script = os.path.join(harness, "pybench.py")
    sys.argv = [script, "Ds", *sys.argv[2:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
