# SPDX-License-Identifier: Apache-2.0
"""Values that offer no buffer of their own. The C part asks here last."""

import sys
from typing import Any

_VALID = (
    "[<class 'memoryview'>, <class 'bytes'>, <class 'bytearray'>, <class 'str'>, "
    "any contiguous buffer, torch tensors on the CPU]"
)


def buffer_of(value: Any, name: str) -> Any:
    """The bytes of a torch tensor, without copying."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        raise TypeError(f"The input of {name} has invalid type, valid type: {_VALID}")
    if value.device.type != "cpu":
        raise TypeError(f"The input of {name} is a tensor on {value.device}; use tensor.cpu()")
    if not value.is_contiguous():
        raise TypeError(f"The input of {name} is not contiguous; use tensor.contiguous()")
    return value.detach().reshape(-1).view(torch.uint8).numpy()
