#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Second-level storage beside its limits, measured in the same run.

    build/venv/bin/python tests/l2/bench_l2.py [folder on the disk to be measured [rounds]]

Directory: puts in batches of 32 against write and fsync of the same sizes, one file after another.
S3 (rclone serve s3, loopback): put and get of 64 MiB against an unsigned curl with as many
connections at the same server and bytes; as on the loopback, and signed as on a network without
TLS. On a machine that is not idle the medians of the rounds' own ratios say more than those of the
times, and processor time more than both. l2_tool of build/release is needed (-DDS_TESTS=ON).
"""
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import test_s3_servers as servers  # noqa: E402

MIB = 1 << 20
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5


def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def plain_files(folder, count, size):
    data = os.urandom(size)
    for i in range(count):
        fd = os.open(folder / f"plain-{i}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)


def directory(base):
    print("directory: MiB/s of write+fsync, of put_many by 32, ratio (median of", ROUNDS, "rounds)")
    for size, count in ((4096, 128), (65536, 128), (MIB, 64), (8 * MIB, 16)):
        plain, ours = [], []
        for _ in range(ROUNDS):
            folder = Path(tempfile.mkdtemp(dir=base))
            plain.append(timed(lambda: plain_files(folder, count, size)))
            done = subprocess.run([servers.TOOL, f"dir={folder}/l2", "bench", "1", "1", "1", "--", "bench", str(count), str(size), "32"],
                                  capture_output=True, text=True, check=True)  # fmt: skip
            ours.append(servers.json.loads(done.stdout.splitlines()[1])["seconds"])
            shutil.rmtree(folder)
        a, b = statistics.median(plain), statistics.median(ours)
        print(f"  {size:>8} B x {count}: {count * size / MIB / a:8.1f} {count * size / MIB / b:8.1f}   {a / b:5.2f}")


def took(server, *commands, **options):
    """Seconds of each command, in one process as in a worker."""
    answers = servers.run(server, *commands, **options)
    assert servers.codes(answers) == [0] * len(commands), answers
    return [a["took"] for a in answers]


def curl(*words):
    return subprocess.run(["curl", "-sf", *map(str, words)], check=True, capture_output=True, text=True).stdout


def with_cpu(function):
    """(what it returns, processor seconds of the programs that it ran)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = function()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def curl_put(server, folder, number):
    """The same upload without signatures and checksums: 8 parts of 8 MiB, 4 at a time."""
    url = f"{server}/{servers.BUCKET}/plain-{number}"
    upload = re.search("<UploadId>(.*)</UploadId>", curl("-X", "POST", f"{url}?uploads="))[1]
    words = ["--parallel", "--parallel-immediate", "--parallel-max", 4]
    for i in range(8):
        words += ["--next"] * (i > 0) + ["-sf", "-D", folder / f"head-{i}", "-T", folder / "part",
                                        f"{url}?partNumber={i + 1}&uploadId={upload}"]  # fmt: skip
    curl(*words)
    rows = ""
    for i in range(8):
        etag = re.search("etag: *(.*)", (folder / f"head-{i}").read_text(), re.I)[1].strip()
        rows += f"<Part><PartNumber>{i + 1}</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
    curl("-H", "Content-Type: application/xml", "-d", body, f"{url}?uploadId={upload}")


def curl_get(server):
    words = ["--parallel", "--parallel-immediate", "--parallel-max", 4]
    for i in range(8):
        words += ["--next"] * (i > 0) + ["-sf", "-r", f"{i * 8 * MIB}-{(i + 1) * 8 * MIB - 1}", "-o", "/dev/null",
                                        f"{server}/{servers.BUCKET}/whole"]  # fmt: skip
    curl(*words)


def object_store(base):
    folder = Path(tempfile.mkdtemp(dir=base))
    (folder / "data" / servers.BUCKET).mkdir(parents=True)
    port = servers.free_port()
    rclone = servers.program("rclone")
    process = servers.start([rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "data")], port, folder)
    server = f"http://127.0.0.1:{port}"
    try:
        source = folder / "source"
        source.write_bytes(os.urandom(64 * MIB))
        (folder / "part").write_bytes(source.read_bytes()[: 8 * MIB])
        curl("-T", source, f"{server}/{servers.BUCKET}/whole")
        names = "put", "put, signed", "get"
        rows = {name: [] for name in names}  # (seconds, processor seconds) of curl, of ours
        start_s = min(timed(lambda: curl("-o", "/dev/null", "-r", "0-0", f"{server}/{servers.BUCKET}/whole")) for _ in range(5))
        for i in range(ROUNDS):
            # A put is three programs of curl's, a get one: their starts are not ours to win.
            plain = {}
            plain["put"] = plain["put, signed"] = with_cpu(lambda: timed(lambda: curl_put(server, folder, i)) - 3 * start_s)
            plain["get"] = with_cpu(lambda: timed(lambda: curl_get(server)) - start_s)
            ours = {
                "put": with_cpu(lambda: took(server, ("putfile", f"k{i}", 1, source))[0]),
                "put, signed": with_cpu(lambda: took(server, ("putfile", f"s{i}", 1, source), sign="always")[0]),
            }
            seconds, cpu = with_cpu(lambda: took(server, *[("get", f"k{i}", "/dev/null")] * 3))
            ours["get"] = statistics.mean(seconds[1:]), cpu / 3  # the first one connects, in a worker too
            for name in names:
                rows[name].append((*plain[name], *ours[name]))
        print("s3, 64 MiB, rclone: MiB/s of curl with 4 connections, of l2, median of", ROUNDS, "rounds' ratios (range), ms of processor")
        for name, row in rows.items():
            a, a_cpu, b, b_cpu = (statistics.median(column) for column in zip(*row))
            ratios = sorted(r[0] / r[2] for r in row)
            print(f"  {name:12} {64 / a:8.1f} {64 / b:8.1f}   {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                  f"   {a_cpu * 1e3:4.0f} {b_cpu * 1e3:4.0f}")  # fmt: skip
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


if __name__ == "__main__":
    place = sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir()
    directory(place)
    object_store(place)
