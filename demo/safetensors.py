# SPDX-License-Identifier: Apache-2.0
"""Reads the header of a .safetensors file: a length (8 bytes, little endian), JSON, then data."""
import json
import math
import os
from collections import namedtuple

import numpy as np

HEADER_MAX = 100_000_000
# NumPy has no bfloat16 and no 8-bit floats: their bits are given as integers.
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
    "BOOL": np.bool_, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8,
}  # fmt: skip

Tensor = namedtuple("Tensor", "path name dtype shape offset size")  # dtype: a name of NumPy's


def read(path):
    """The tensors of a file, in the order of their bytes. ValueError if the file is not sound."""
    file_size = os.path.getsize(path)
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if not 2 <= length <= min(HEADER_MAX, file_size - 8):
            raise ValueError(f"{path}: not a safetensors file")
        header = json.loads(f.read(length))
    header.pop("__metadata__", None)
    start = 8 + length
    tensors = []
    for name, t in header.items():
        first, end = t["data_offsets"]
        dtype = np.dtype(DTYPES[t["dtype"]])
        if not 0 <= first <= end <= file_size - start:
            raise ValueError(f"{path}: {name} lies outside the file")
        if end - first != dtype.itemsize * math.prod(t["shape"]):
            raise ValueError(f"{path}: {name} has a size that is not its shape's")
        tensors.append(Tensor(path, name, dtype.str, t["shape"], start + first, end - first))
    return sorted(tensors, key=lambda t: t.offset)
