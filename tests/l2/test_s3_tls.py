# SPDX-License-Identifier: Apache-2.0
"""The object store over TLS: whom a worker talks to is always checked, before it says anything."""
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build/dev")).resolve() / "bin"
DSCLI, TOOL = BIN / "dscli", BIN / "l2_tool"
MIB = 1 << 20
INVAL, DENIED, UNAVAILABLE = 2, 9, 1002
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DATASYSTEM_")) and "proxy" not in k.lower()}
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built")


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "ca.pem"
        self.openssl("req", "-x509", *self.new_key("ca"), "-out", self.file, "-subj", "/CN=CA of a test", "-days", 2)

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], cwd=self.folder, check=True, capture_output=True)

    def new_key(self, name):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"

    def sign(self, name, alternative, days=2):
        """(certificate, key) of a server."""
        self.openssl("req", "-new", *self.new_key(name), "-out", f"{name}.csr", "-subj", "/CN=store",
                     "-addext", f"subjectAltName={alternative}")  # fmt: skip
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", self.file, "-CAkey", "ca.key", "-CAcreateserial",
                     "-out", f"{name}.pem", "-days", days, "-copy_extensions", "copy")  # fmt: skip
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")


@pytest.fixture(name="authority", scope="module")
def authority_fixture(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(name="good", scope="module")
def good_fixture(authority):
    return authority.sign("good", "IP:127.0.0.1,DNS:localhost")


@pytest.fixture(name="expired", scope="module")
def expired_fixture(authority):
    return authority.sign("expired", "IP:127.0.0.1,DNS:localhost", days=-1)


def run(stub, *commands, **options):
    given = {"endpoint": stub.endpoint, "bucket": BUCKET, "region": REGION, "access": ACCESS, "secret": SECRET, **options}
    words = []
    for command in commands:
        words += ["--"] * bool(words) + [str(w) for w in command]
    args = [f"{k}={v}" for k, v in given.items()]
    done = subprocess.run([TOOL, *args, *words], capture_output=True, text=True, timeout=60, check=False, env=ENV)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_store_with_a_good_certificate_is_used(authority, good, tmp_path, host):
    source, got = tmp_path / "source", tmp_path / "got"
    source.write_bytes(os.urandom(3 * MIB + 5))
    with Stub(certificate=good) as stub:
        stub.endpoint = stub.endpoint.replace("127.0.0.1", host)
        answers = run(stub, ("put", "small", 1, 100, 1), ("putfile", "large", 1, source), ("get", "large", got),
                      ("remove", "small", 2), ("head", "small"), part=MIB, ca=authority.file)  # fmt: skip
    assert [a["rc"] for a in answers] == [0, 0, 0, 0, 3], answers
    assert got.read_bytes() == source.read_bytes()


def refused(stub, **options):
    """The error of a tool that does not get as far as a request."""
    (answer,) = run(stub, ("put", "k", 1, 100, 1), **options)
    assert answer["command"] == "open"
    assert stub.requests == []  # nobody unknown has seen a signature, or a key's name
    return answer["rc"], answer["err"]


def test_a_store_of_another_authority_is_refused(good, tmp_path):
    other = Authority(tmp_path)
    with Stub(certificate=good) as stub:
        rc, err = refused(stub, ca=other.file)
        assert rc == DENIED and "certificate is not accepted" in err and "issuer" in err and "s3_ca_file" in err
        rc, err = refused(stub)  # the system's authorities do not know it either
        assert rc == DENIED and "certificate is not accepted" in err


def test_a_certificate_that_has_expired_is_refused(authority, expired):
    with Stub(certificate=expired) as stub:
        rc, err = refused(stub, ca=authority.file)
        assert rc == DENIED and "certificate is not accepted" in err and "expired" in err


def test_the_certificate_of_another_host_is_refused(authority):
    with Stub(certificate=authority.sign("elsewhere", "DNS:store.example,IP:127.0.0.2")) as stub:
        rc, err = refused(stub, ca=authority.file)
        assert rc == DENIED and "certificate is not accepted" in err and "127.0.0.1" in err


def test_a_missing_authority_file_is_no_reason_to_check_nothing(good, tmp_path):
    with Stub(certificate=good) as stub:
        rc, err = refused(stub, ca=tmp_path / "none.pem")
        assert rc == INVAL and "none.pem" in err
        empty = tmp_path / "empty.pem"
        empty.write_text("")
        rc, err = refused(stub, ca=empty)
        assert rc == INVAL and "empty.pem" in err


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_a_store_without_tls_1_2_is_refused(authority, good, tmp_path, monkeypatch):
    """Also where the system's own settings would let an older version pass, as this file does."""
    lax = tmp_path / "openssl.cnf"
    lax.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
                   "[c]\nMinProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n")  # fmt: skip
    monkeypatch.setitem(ENV, "OPENSSL_CONF", str(lax))
    with Stub(certificate=good) as stub:
        assert [a["rc"] for a in run(stub, ("put", "k", 1, 10, 1), ca=authority.file)] == [0]
    with Stub(certificate=good) as stub:
        stub.tls.set_ciphers("DEFAULT@SECLEVEL=0")
        stub.tls.minimum_version = ssl.TLSVersion.TLSv1_1
        stub.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        (answer,) = run(stub, ("put", "k", 1, 10, 1), ca=authority.file, attempts=1)
        assert answer["rc"] == UNAVAILABLE and "no TLS with the store" in answer["err"]
        assert stub.requests == []


def test_tls_and_none_do_not_meet(authority, good):
    with Stub() as stub:
        stub.endpoint = stub.endpoint.replace("http:", "https:")
        (answer,) = run(stub, ("head", "k"), ca=authority.file, attempts=1)
        assert answer["rc"] == UNAVAILABLE and "no TLS with the store" in answer["err"]
        assert stub.requests == []
    with Stub(certificate=good) as stub:
        stub.endpoint = stub.endpoint.replace("https:", "http:")
        (answer,) = run(stub, ("head", "k"), attempts=1)
        assert answer["rc"] == UNAVAILABLE and stub.requests == []


@pytest.fixture(name="node")
def node_fixture(tmp_path):
    """node(command, ...) calls dscli about a worker of its own; flags(stub, ca) are those of its store."""
    secret = tmp_path / "credentials"
    secret.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"

    def call(command, *args):
        where = ("-w", "--worker_address") if command == "start" else ("--worker_address",)
        return subprocess.run([DSCLI, command, *where, address, *map(str, args)], capture_output=True, text=True,
                              timeout=60, check=False, env=ENV, cwd=tmp_path)  # fmt: skip

    call.store = lambda stub, ca: (
        "--shared_memory_size_mb", 64, "--log_dir", tmp_path, "--l2_cache_type", "obs", "--obs_endpoint", stub.address,
        "--obs_https_enabled", "true", "--obs_bucket", BUCKET, "--s3_region", REGION, "--s3_credentials_file", secret,
        "--s3_ca_file", ca,
    )  # fmt: skip
    yield call
    call("stop")


def test_a_worker_takes_the_authority_from_its_options(node, authority, good, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with Stub(certificate=good) as stub:
        done = node("start", *node.store(stub, Authority(other).file))
        assert done.returncode != 0
        assert "certificate is not accepted" in (tmp_path / "datasystem_worker.INFO.log").read_text()
        assert stub.requests == []
        done = node("start", *node.store(stub, authority.file))
        assert done.returncode == 0, done.stderr
        done = node("get", "nobody")
        assert done.returncode == 1 and "not found" in done.stderr
        assert len(stub.requests) > 0


def test_a_certificate_that_expires_under_way_is_an_error_and_no_missing_key(node, authority, good, expired, tmp_path):
    with Stub(certificate=good) as stub:
        assert node("start", *node.store(stub, authority.file)).returncode == 0
        assert "not found" in node("get", "nobody").stderr
        stub.tls.load_cert_chain(*expired)
        stub.fault("cut")  # connections that are open stay as they are
        done = node("get", "nobody")
        assert done.returncode == 1 and "not found" not in done.stderr
        assert "certificate has expired" in (tmp_path / "datasystem_worker.INFO.log").read_text()
        stub.tls.load_cert_chain(*good)
        assert "not found" in node("get", "nobody").stderr
