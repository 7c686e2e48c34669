#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Saves the state of a model with torch.distributed.checkpoint, in the background, and loads it.

Needs PyTorch (pip install 'ds-cache[torch]') and a worker with second-level storage and a journal:
dscli start -w --l2_cache_type sfs --sfs_path DIR --write_back_directory LOCAL_DIR
"""
import sys

import torch
import torch.distributed.checkpoint as dcp

from yr.datasystem import KVClient, WriteMode
from yr.datasystem.checkpoint import KVStorageReader, KVStorageWriter

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 31501

model = torch.nn.Linear(256, 256)
with KVClient("127.0.0.1", PORT) as kv:
    writer = KVStorageWriter(kv, "linear/step-1", WriteMode.WRITE_BACK_L2_CACHE)
    saving = dcp.async_save({"model": model.state_dict()}, storage_writer=writer)
    saving.result()  # on the local disk: it survives a kill; training went on meanwhile
    writer.wait_uploaded()  # in second-level storage: it survives the machine

    state = {"model": torch.nn.Linear(256, 256).state_dict()}
    dcp.load(state, storage_reader=KVStorageReader(kv, "linear/step-1"))
    assert torch.equal(state["model"]["weight"], model.weight)
    print("loaded what was saved")
