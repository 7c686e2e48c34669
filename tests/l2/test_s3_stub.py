# SPDX-License-Identifier: Apache-2.0
"""The S3 implementation against a store that checks every byte and fails in every way."""
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build/dev")).resolve() / "bin/l2_tool"
MIB = 1 << 20
NOTFOUND, IO, DENIED, INVAL, NOSPACE, CORRUPT, TIMEOUT, UNAVAILABLE, STALE = 3, 7, 9, 2, 13, 20, 1001, 1002, 2006
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built")


@pytest.fixture(name="stub")
def stub_fixture():
    with Stub() as stub:
        yield stub


def run(stub, *commands, env=None, **options):
    given = {"endpoint": stub.endpoint, "bucket": BUCKET, "region": REGION, "access": ACCESS, "secret": SECRET}
    given.update(options)
    args = [f"{k}={v}" for k, v in given.items() if v is not None]
    words = []
    for command in commands:
        words += ["--"] * bool(words) + [str(w) for w in command]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and "proxy" not in k.lower()}
    done = subprocess.run(
        [TOOL, *args, *words], capture_output=True, text=True, timeout=120, check=False, env={**clean, **(env or {})}
    )
    assert done.returncode in (0, 1), done.stderr
    assert SECRET not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def codes(answers):
    return [a["rc"] for a in answers]


def value(seed, size):
    out = bytearray(size)
    for i in range(size):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = (seed >> 33) & 255
    return bytes(out)


def test_put_get_remove(stub, tmp_path):
    got = tmp_path / "got"
    answers = run(
        stub,
        ("put", "a/../b c+d%&?=#", 5, 1000, 7),
        ("get", "a/../b c+d%&?=#", got),
        ("head", "a/../b c+d%&?=#"),
        ("remove", "a/../b c+d%&?=#", 6),
        ("get", "a/../b c+d%&?=#", "-"),
        ("head", "nobody"),
        prefix="some folder/x+y",
    )
    assert codes(answers) == [0, 0, 0, 0, NOTFOUND, NOTFOUND]
    assert got.read_bytes() == value(7, 1000)
    assert answers[2]["size"] == 1000 and answers[2]["version"] == 5
    assert len(stub.objects) == 1  # the tombstone
    assert all(key.startswith("some folder/x+y/dsl2/k-a_2F.._2Fb") for key in stub.objects)


def test_head_tells_the_newest_version_without_the_value(stub):
    answers = run(
        stub,
        ("put", "k", 5, 4 * MIB, 1), ("head", "k"),
        ("put", "k", 9, 100, 1), ("put", "k", 7, 10, 1), ("head", "k"),
        ("remove", "k", 11), ("head", "k"), ("put", "k", 12, 3 * MIB, 1),
    )  # fmt: skip
    assert codes(answers) == [0, 0, 0, STALE, 0, 0, NOTFOUND, 0]
    assert [a["version"] for a in answers if a["command"] == "head" and a["rc"] == 0] == [5, 9]
    for key, (data, when) in stub.objects.items():  # damaged behind its header
        stub.objects[key] = (data[:MIB] + bytes(len(data) - MIB), when)
    answers = run(stub, ("head", "k"), ("get", "k", "-"))
    assert codes(answers) == [0, CORRUPT] and answers[0]["version"] == 12


@pytest.mark.parametrize("sign", ["always", "never"])
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB + 77])
def test_sizes_whole_and_in_parts(stub, tmp_path, size, sign):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    got = tmp_path / "got"
    assert codes(run(stub, ("putfile", "k", 1, source), ("get", "k", got), part=MIB, sign=sign)) == [0, 0]
    assert (stub.unsigned > 0) == (sign == "never" and size >= MIB - 1)
    assert got.read_bytes() == source.read_bytes()
    assert not stub.uploads
    assert any("partNumber" in q for _, q in stub.requests) == (size > 2 * MIB)


def test_the_greatest_version_wins(stub, tmp_path):
    got = tmp_path / "got"
    answers = run(
        stub,
        ("put", "k", 2, 10, 2), ("put", "k", 1, 11, 1), ("get", "k", got),
        ("remove", "k", 3), ("put", "k", 2, 10, 2), ("get", "k", "-"), ("put", "k", 4, 12, 4), ("get", "k", got),
    )  # fmt: skip
    assert codes(answers) == [0, STALE, 0, 0, STALE, NOTFOUND, 0, 0]
    assert answers[2]["version"] == 2 and answers[7]["version"] == 4
    assert len(stub.objects) == 1


def test_a_renewal_goes_over_the_version_before_it_only(stub):
    answers = run(
        stub,
        ("renew", "k", 6, 10, 6), ("put", "k", 5, 10, 5), ("renew", "k", 5, 10, 5), ("renew", "k", 7, 10, 7),
        ("renew", "k", 6, 10, 6), ("head", "k"), ("remove", "k", 8), ("renew", "k", 7, 10, 7), ("head", "k"),
    )  # fmt: skip
    assert codes(answers) == [STALE, 0, STALE, STALE, 0, 0, 0, STALE, NOTFOUND]
    assert answers[5]["version"] == 6


def test_versions_left_behind_never_surface(stub):
    """A worker that dies between its put and the clean-up leaves older versions."""
    run(stub, ("put", "k", 1, 10, 1))
    old = dict(stub.objects)
    run(stub, ("put", "k", 5, 10, 5))
    stub.objects.update(old)
    assert run(stub, ("head", "k"))[0]["version"] == 5
    run(stub, ("remove", "k", 6))
    stub.objects.update(old)  # a put of version 1 that was under way all the time
    answers = run(stub, ("get", "k", "-"), ("gc", 3600), ("get", "k", "-"))
    assert codes(answers) == [NOTFOUND, 0, NOTFOUND]
    assert answers[1]["superseded"] == 1 and answers[1]["objects"] == answers[1]["gone"] == 1
    assert run(stub, ("gc", 0))[0]["tombstones"] == 1
    assert not stub.objects


def test_expiry(stub):
    answers = run(stub, ("expire", "k", 1, 1000), ("get", "k", "-"), ("expire", "j", 1, 2**62), ("get", "j", "-"), ("gc", 1))
    assert codes(answers) == [0, NOTFOUND, 0, 0, 0]
    assert answers[4]["expired"] == 1 and answers[4]["objects"] == 1 and answers[4]["gone"] == 0


def test_a_collection_says_whether_it_saw_all(stub):
    run(stub, ("put", "k", 1, 10, 1))
    assert run(stub, ("gc", 0))[0]["whole"]
    # What comes behind the listing of the objects has no say: some stores list no uploads at all.
    stub.fault("status", "GET", times=10**9, value=(403, "AccessDenied"), query="uploads=")
    (answer,) = run(stub, ("gc", 0))
    assert answer["rc"] != 0 and answer["whole"] and answer["objects"] == 1
    stub.faults.clear()
    stub.fault("status", "GET", times=10**9, value=(403, "AccessDenied"), query="max-keys=500")
    (answer,) = run(stub, ("gc", 0))
    assert answer["rc"] != 0 and not answer["whole"]


def test_list_pages(stub):
    commands = [("put", f"key-{i}", 1, i, i) for i in range(7)] + [("put", "x" * 500, 3, 5, 5), ("list",)]
    answers = run(stub, *commands)
    listed = {a["key"]: a["size"] for a in answers if "key" in a}
    assert listed == {**{f"key-{i}": i for i in range(7)}, "x" * 500: 5}


# --- faults ---


@pytest.mark.parametrize("fault", [
    ("status", (500, "InternalError")), ("status", (503, "SlowDown")), ("status", (502, "BadGateway")),
    ("status", (429, "TooMany")), ("status", (400, "RequestTimeout")), ("cut", None),
])  # fmt: skip
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_passing_faults_are_survived(stub, fault, method, tmp_path):
    run(stub, ("put", "k", 1, 10, 1))
    stub.fault(fault[0], method, times=2, value=fault[1])
    answers = run(stub, ("put", "k", 2, 100, 2), ("get", "k", tmp_path / "got"))
    assert codes(answers) == [0, 0]
    assert (tmp_path / "got").read_bytes() == value(2, 100)


def test_a_store_that_stays_down_is_not_called_a_success(stub):
    stub.fault("status", "PUT", times=100, value=(503, "SlowDown"))
    answers = run(stub, ("put", "k", 1, 10, 1), attempts=3)
    assert codes(answers) == [UNAVAILABLE]
    assert answers[0]["retries"] == 2 and "SlowDown" in answers[0]["err"] and "STUB0001" in answers[0]["err"]
    assert sum(m == "PUT" for m, _ in stub.requests) == 3


def test_the_retry_budget_bounds_what_all_calls_send(stub):
    stub.fault("status", "PUT", times=1000, value=(500, "InternalError"))
    answers = run(stub, *[("put", f"k{i}", 1, 10, 1) for i in range(12)], attempts=4)
    assert set(codes(answers)) == {UNAVAILABLE}
    assert sum(m == "PUT" for m, _ in stub.requests) <= 12 + 21
    assert "too many retries" in answers[-1]["err"]


def test_deadlines_hold(stub):
    stub.fault("hang", "PUT", times=10, value=5)
    begin = time.monotonic()
    answers = run(stub, ("put", "k", 1, 10, 1), deadline_ms=400)
    assert codes(answers) in ([TIMEOUT], [UNAVAILABLE])
    assert time.monotonic() - begin < 3


def test_a_hanging_request_is_given_up_and_repeated(stub):
    stub.fault("hang", "PUT", value=20)
    assert codes(run(stub, ("put", "k", 1, 10, 1), timeout_ms=200)) == [0]


def test_stored_but_the_answer_is_lost(stub, tmp_path):
    stub.fault("cut after", "PUT", times=2)
    assert codes(run(stub, ("put", "k", 1, 10, 3), ("get", "k", tmp_path / "got"))) == [0, 0]
    stub.fault("cut after", "POST", "uploadId")
    answers = run(stub, ("put", "big", 1, 4 * MIB, 3), ("head", "big"), part=MIB)
    assert codes(answers) == [0, 0] and answers[1]["size"] == 4 * MIB
    assert not stub.uploads


@pytest.mark.parametrize("fault", ["short body", "short answer"])
def test_short_bodies(stub, fault, tmp_path):
    run(stub, ("put", "k", 1, 5000, 1))
    get = next(iter(stub.objects))
    assert get
    stub.fault(fault, "GET", times=4)  # the listings are served as they are
    answers = run(stub, ("get", "k", tmp_path / "got"))
    assert codes(answers) == [0] and (tmp_path / "got").read_bytes() == value(1, 5000)


def test_a_wrong_etag_is_not_believed(stub):
    stub.fault("wrong etag", "PUT")
    answers = run(stub, ("put", "k", 1, 10, 1))
    assert codes(answers) == [0] and answers[0]["retries"] == 1
    stub.fault("wrong etag", "PUT", times=100)
    answers = run(stub, ("put", "k", 2, 10, 1), attempts=2)
    assert codes(answers) == [UNAVAILABLE] and "ETag" in answers[0]["err"]


def test_no_flipped_byte_is_returned(stub, tmp_path):
    run(stub, ("put", "k", 1, 40, 1))
    key, (data, when) = next(iter(stub.objects.items()))
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 0x10
        stub.objects[key] = (bytes(bad), when)
        assert codes(run(stub, ("get", "k", "-")))[0] in (CORRUPT, 28)
    stub.objects[key] = (data, when)
    stub.fault("flip", "GET", times=2, value=70)  # the listing takes one; on the wire, not in the store
    answers = run(stub, ("get", "k", tmp_path / "got"))
    assert codes(answers) == [0] and (tmp_path / "got").read_bytes() == value(1, 40)
    stub.objects[key] = (data + b"x", when)
    assert codes(run(stub, ("get", "k", "-"))) == [CORRUPT]


PART_0, PART_1, PART_2 = "bytes=0-", f"bytes={65 + MIB + 4}-", f"bytes={65 + 2 * (MIB + 4)}-"  # of key "k"


def test_a_store_that_ignores_ranges(stub):
    run(stub, ("put", "k", 1, 4 * MIB, 1), part=MIB)
    stub.fault("ignore range", "GET", times=100)
    assert codes(run(stub, ("get", "k", "-"), part=MIB)) == [IO]
    stub.faults.clear()
    stub.fault("ignore range", "GET", PART_1)
    answers = run(stub, ("get", "k", "-"), part=MIB)
    assert codes(answers) == [IO] and "ignores ranges" in answers[0]["err"] and answers[0]["answered"]


@pytest.mark.parametrize("fault, where", [("late", PART_0), ("late", PART_2), ("cut", PART_0), ("short body", PART_0),
                                          ("short body", PART_2), ("short answer", PART_2)])  # fmt: skip
def test_parts_in_any_order_and_twice(stub, fault, where, tmp_path):
    """Also where the other parts have to wait for the header."""
    run(stub, ("put", "k", 1, 5 * MIB + 3, 1), part=MIB)
    stub.fault(fault, "GET", where, value=0.3)
    answers = run(stub, ("get", "k", tmp_path / "got"), part=MIB)
    assert codes(answers) == [0] and answers[0]["retries"] == fault.startswith("short")  # libcurl repeats the one cut
    assert (tmp_path / "got").read_bytes() == value(1, 5 * MIB + 3)
    assert stub.faults[0][3] == 0


@pytest.mark.parametrize("late", [False, True])
def test_a_part_that_does_not_verify(stub, late, tmp_path):
    """The damage is found in what comes, or in what had waited for the header."""
    size, last = 3 * MIB + 100, 65 + 3 * (MIB + 4)
    run(stub, ("put", "k", 1, size, 1), part=MIB)
    if late:
        stub.fault("late", "GET", PART_0, times=4, value=0.3)
    stub.fault("flip", "GET", f"bytes={last}-", value=last + 50)
    answers = run(stub, ("get", "k", tmp_path / "got"), part=MIB)
    assert codes(answers) == [0] and answers[0]["retries"] == 1
    assert (tmp_path / "got").read_bytes() == value(1, size)
    stub.fault("flip", "GET", f"bytes={last}-", times=3, value=last + 50)
    answers = run(stub, ("get", "k", tmp_path / "got"), part=MIB)
    assert codes(answers) == [CORRUPT] and f"bytes {3 * MIB} to {size} of the value do not verify" in answers[0]["err"]


@pytest.mark.parametrize("host, style, unsigned", [("127.0.0.1", "path", 1), ("localhost", "path", 1), ("localhost", "virtual", 0)])
def test_what_leaves_the_machine_is_signed(stub, host, style, unsigned):
    """As a host of its own each bucket is taken for another machine. No proxy gets what is not signed."""
    env = {"http_proxy": "http://127.0.0.1:1"} if unsigned else {}
    endpoint = f"http://{host}:{stub.server_address[1]}"
    assert codes(run(stub, ("put", "k", 1, 2 * MIB, 1), endpoint=endpoint, style=style, env=env)) == [0]
    assert stub.unsigned == unsigned


@pytest.mark.parametrize("sign", ["always", "never"])
@pytest.mark.parametrize("fault", [("status", (503, "SlowDown")), ("cut", None)])
def test_parts_are_sent_again(stub, fault, sign, tmp_path):
    for part in (1, 2, 6):  # the last one comes by a connection that was used before
        stub.fault(fault[0], "PUT", f"partNumber={part}&", value=fault[1])
    answers = run(stub, ("put", "k", 1, 5 * MIB + 3, 1), ("get", "k", tmp_path / "got"), part=MIB, sign=sign)
    assert codes(answers) == [0, 0] and all(fault[3] == 0 for fault in stub.faults)
    assert (tmp_path / "got").read_bytes() == value(1, 5 * MIB + 3)


@pytest.mark.parametrize("sign", ["always", "never"])
@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB])
def test_a_value_that_cannot_be_read(stub, sign, size, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    stub.fault("call", "GET", "k-k", value=lambda: os.truncate(source, size - MIB))  # the listing before the put
    answers = run(stub, ("putfile", "k", 1, source), ("head", "k"), part=MIB, sign=sign)
    assert codes(answers) == [IO, NOTFOUND] and "cannot read the value" in answers[0]["err"]
    assert not stub.objects and not stub.uploads


def test_no_room_for_what_comes(stub):
    run(stub, ("put", "k", 1, 3 * MIB, 1), part=MIB)
    answers = run(stub, ("get", "k", "/dev/full"), part=MIB)
    assert codes(answers) == [NOSPACE] and "cannot write the value" in answers[0]["err"]
    assert answers[0]["answered"]  # that is no trouble of the store


def test_parts_that_wait_hide_no_standstill(stub):
    """That they are asked about again and again moves no byte."""
    run(stub, ("put", "k", 1, 5 * MIB, 1), part=MIB)
    stub.fault("hang", "GET", PART_0, value=3)
    answers = run(stub, ("get", "k", "-"), part=MIB, deadline_ms=1500)
    assert codes(answers) == [TIMEOUT] and answers[0]["still"] > 1 and not answers[0]["answered"]


def test_part_failures_leave_nothing(stub):
    stub.fault("status", "PUT", "partNumber=3", times=100, value=(500, "InternalError"))
    assert codes(run(stub, ("put", "k", 1, 5 * MIB, 1), ("get", "k", "-"), part=MIB, attempts=2)) == [UNAVAILABLE, NOTFOUND]
    assert not stub.uploads and not stub.objects


def test_an_abort_is_repeated_until_no_part_is_left(stub):
    stub.fault("status", "PUT", "partNumber=3", times=100, value=(500, "InternalError"))
    stub.fault("late part", "DELETE", "uploadId", times=2)
    assert codes(run(stub, ("put", "k", 1, 5 * MIB, 1), part=MIB, attempts=2)) == [UNAVAILABLE]
    assert not stub.uploads
    stub.fault("late part", "DELETE", "uploadId", times=100)  # not for ever: it is found by its age
    run(stub, ("put", "k", 1, 5 * MIB, 1), part=MIB, attempts=2)
    assert len(stub.uploads) == 1
    assert len([q for m, q in stub.requests if m == "DELETE"]) == 6


def test_complete_answers_200_with_an_error(stub):
    stub.fault("error in 200", "POST", "uploadId")
    answers = run(stub, ("put", "k", 1, 4 * MIB, 1), ("head", "k"), part=MIB)
    assert codes(answers) == [0, 0] and answers[0]["retries"] == 1
    stub.fault("error in 200", "POST", "uploadId", times=100)
    answers = run(stub, ("put", "j", 1, 4 * MIB, 1), ("get", "j", "-"), part=MIB, attempts=2)
    assert codes(answers) == [UNAVAILABLE, NOTFOUND] and not stub.uploads


@pytest.mark.parametrize("lavish", [False, True])
@pytest.mark.parametrize("key", ["dsl2/k-x/y", "dsl2/k-x/{:04}+?&"])
def test_stale_uploads_behind_young_ones_are_found(stub, key, lavish):
    stub.lavish = lavish
    for i in range(1500):
        stub.uploads[f"id/{i:04}+=="] = [key.format(i), "2999-01-01T00:00:00.000Z", {}]
    for i in (1200, 1499):
        stub.uploads[f"id/{i:04}+=="][1] = "2020-01-01T00:00:00.000Z"
    assert codes(run(stub, ("head", "k"))) == [NOTFOUND]
    assert len(stub.uploads) == 1498 and "id/1200+==" not in stub.uploads


def test_stale_uploads_are_aborted_by_age(stub):
    stub.uploads["old"] = ["dsl2/k-x/y", "2020-01-01T00:00:00.000Z", {}]
    stub.uploads["foreign"] = ["other/x", "2020-01-01T00:00:00.000Z", {}]
    stub.uploads["young"] = ["dsl2/k-x/z", "2999-01-01T00:00:00.000Z", {}]
    run(stub, ("head", "k"))
    assert set(stub.uploads) == {"foreign", "young"}


# --- credentials ---


def test_wrong_secret_and_bucket(stub):
    assert codes(run(stub, ("head", "k"), secret="wrong")) == [DENIED]
    answers = run(stub, ("head", "k"), bucket="other")
    assert codes(answers) == [INVAL] and "bucket" in answers[0]["err"]
    answers = run(stub, ("head", "k"), access=None, secret=None)
    assert codes(answers) == [DENIED] and "s3_credentials_file" in answers[0]["err"]


def test_environment(stub):
    env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    assert codes(run(stub, ("put", "k", 1, 1, 1), access=None, secret=None, env=env)) == [0]


def test_expired_credentials_are_read_again(stub, tmp_path):
    credentials = tmp_path / "credentials"
    text = f"[other]\naws_access_key_id = no\n[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key={SECRET}\n"
    credentials.write_text(text + "aws_session_token = one\n")
    stub.token = "one"
    assert codes(run(stub, ("put", "k", 1, 1, 1), access=None, secret=None, credentials=credentials)) == [0]
    stub.token = "two"
    stub.on_expired = lambda: credentials.write_text(text + "aws_session_token = two\n")
    assert codes(run(stub, ("put", "k", 2, 1, 1), access=None, secret=None, credentials=credentials)) == [0]
    stub.on_expired = lambda: None
    credentials.write_text(text + "aws_session_token = one\n")
    answers = run(stub, ("put", "k", 3, 1, 1), access=None, secret=None, credentials=credentials)
    assert codes(answers) == [DENIED] and "expired" in answers[0]["err"]


def test_a_wrong_clock_is_called_so(stub):
    stub.fault("status", "PUT", value=(403, "RequestTimeTooSkewed", "The difference is too large."))
    answers = run(stub, ("put", "k", 1, 1, 1))
    assert codes(answers) == [DENIED] and "clock" in answers[0]["err"]


def test_virtual_host_style(stub):
    host = f"localhost:{stub.server_address[1]}"
    assert codes(run(stub, ("put", "k", 1, 10, 1), ("get", "k", "-"), endpoint=f"http://{host}", style="virtual")) == [0, 0]


def test_a_store_that_is_away_does_not_keep_one_from_starting(stub):
    endpoint = stub.endpoint
    stub.shutdown()
    stub.server_close()
    answers = run(stub, ("head", "k"), endpoint=endpoint, attempts=2)
    assert [a["command"] for a in answers] == ["head"] and codes(answers) == [UNAVAILABLE]


@pytest.mark.parametrize("point", ["l2.s3.before_put", "l2.s3.after_put", "l2.s3.part", "l2.s3.before_complete",
                                   "l2.s3.after_complete", "l2.s3.before_delete"])  # fmt: skip
def test_kill_anywhere_leaves_old_or_new(stub, point):
    for size in (100, 4 * MIB):
        key = f"k{size}"
        run(stub, ("put", key, 1, 50, 1))
        env = {**os.environ, "DS_FAILPOINTS": f"{point}=kill"}
        args = [f"endpoint={stub.endpoint}", f"bucket={BUCKET}", f"region={REGION}", f"access={ACCESS}", f"secret={SECRET}"]
        subprocess.run([TOOL, *args, f"part={MIB}", "put", key, "2", str(size), "2"], env=env, check=False, capture_output=True)
        answers = run(stub, ("head", key), ("get", key, "-"))
        assert codes(answers) == [0, 0]
        assert (answers[0]["version"], answers[0]["size"]) in ((1, 50), (2, size))
        assert answers[0]["version"] == answers[1]["version"]
