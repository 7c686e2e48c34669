# SPDX-License-Identifier: Apache-2.0
"""Argument checks of the Python part: types by identity, as in the original package."""

from typing import Any

from yr.datasystem.errors import invalid

INT32_MAX = 2**31 - 1


def check_type(name: str, value: Any, *valid: type) -> None:
    if type(value) not in valid:
        raise TypeError(f"The input of {name} has invalid type, valid type: {list(valid)}")


def check_int(name: str, value: Any, low: int, high: int) -> None:
    check_type(name, value, int)
    if not low <= value <= high:
        raise invalid(f"Invalid {name} size {value} is set, which should be between [{low},{high}]")


def check_keys(name: str, keys: Any) -> None:
    check_type(name, keys, list)
    if not keys:
        raise invalid(f"The input of {name} list should not be empty")
