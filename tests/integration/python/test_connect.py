# SPDX-License-Identifier: Apache-2.0
"""Why a client cannot connect: each reason names the address or the socket, and what to do."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from yr.datasystem.errors import (
    DeadlineExceededError,
    DsError,
    NotSupportedError,
    TryAgainError,
    UnavailableError,
    VersionMismatchError,
)
from yr.datasystem.kv_client import KVClient

MAGIC = 0x57534458
HERE = 2
NOBODY = 65534


def refusal(port, error=DsError):
    with pytest.raises(error) as caught:
        KVClient("127.0.0.1", port, 500).init()
    assert "may or may not" not in str(caught.value)
    return str(caught.value)


@contextlib.contextmanager
def listener(answer):
    """A port where answer(connection) is called for each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def wait_for_end(connection):
    with contextlib.suppress(OSError):
        while connection.recv(1024):
            pass


def say_banner(connection):
    connection.sendall(b"SSH-2.0-something\r\n")
    wait_for_end(connection)


def say_much(connection):
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 100)


def say_nothing(connection):
    connection.recv(1024)


@pytest.mark.parametrize("answer", [say_banner, say_much, say_nothing])
def test_a_stranger_on_the_port_is_no_worker_of_another_version(answer):
    with listener(answer) as port:
        text = refusal(port, UnavailableError)
    assert f"something that is not a worker answers at 127.0.0.1:{port}" in text


def test_a_worker_of_another_version_is_told_from_a_stranger():
    def answer(connection):
        connection.recv(1024)
        connection.sendall(struct.pack("<IHHIi", MAGIC, 99, HERE, 16, 0))

    with listener(answer) as port:
        assert f"the worker at 127.0.0.1:{port} is of another version" in refusal(
            port, VersionMismatchError
        )


def test_a_worker_tells_a_client_of_another_version(worker):
    with socket.create_connection((worker.host, worker.port)) as connection:
        connection.sendall(struct.pack("<IHHIi", MAGIC, 99, 1, 16, 0))
        magic, _, kind, _, status = struct.unpack("<IHHIi", connection.recv(16))
    assert (magic, kind, status) == (MAGIC, HERE, -28)


def test_a_port_that_is_silent_is_named():
    with listener(wait_for_end) as port:
        text = refusal(port, DeadlineExceededError)
    assert f"what listens at 127.0.0.1:{port} does not answer" in text


def test_a_socket_that_is_not_visible_is_named(start_worker, tmp_path):
    there = tmp_path / "sockets"
    there.mkdir()
    worker = start_worker(unix_domain_socket_dir=there)
    there.rename(tmp_path / "elsewhere")
    try:
        text = refusal(worker.port, NotSupportedError)
    finally:
        (tmp_path / "elsewhere").rename(there)
    assert f"the socket {there}/" in text
    assert "No such file or directory" in text and "--unix_domain_socket_dir" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_without_permission_is_named(worker):
    program = (
        "import os\n"
        "from yr.datasystem.kv_client import KVClient\n"
        f"os.setgid({NOBODY})\nos.setuid({NOBODY})\n"
        "try:\n"
        f"    KVClient({worker.host!r}, {worker.port}).init()\n"
        "except RuntimeError as error:\n"
        "    print(error.name, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("K_NOT_AUTHORIZED ")
    assert "the socket /" in done.stdout and "Permission denied" in done.stdout
    assert "--client_access=group or all" in done.stdout


def test_the_workers_own_reason_reaches_the_user(start_worker):
    worker = start_worker(max_client_num=1)
    with KVClient(worker.host, worker.port) as kv:
        kv.set("k", "v")
        text = refusal(worker.port, TryAgainError)
        assert f"the worker at {worker.address} refuses: max_client_num clients" in text
        done = subprocess.run(
            [Path(sys.executable).with_name("dscli"), "get", "k", "--worker_address", worker.address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "refuses: max_client_num clients are connected already" in done.stderr
