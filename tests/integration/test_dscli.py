# SPDX-License-Identifier: Apache-2.0
"""dscli as a user sees it: output lines, exit codes, and what it starts and ends.

Most tests start stand-ins for dskeeper (small scripts in DS_BIN_DIR) that fail in the ways a keeper
can fail. The last ones drive the real programs and are skipped while those are not built.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build/dev")).resolve() / "bin"
DSCLI = BIN / "dscli"
OK, FAILED, USAGE, NOT_RUNNING, INTERRUPTED = 0, 1, 2, 3, 130

pytestmark = pytest.mark.skipif(not DSCLI.exists(), reason=f"{DSCLI} is not built")

# --- stand-ins: what comes after "#!python" and the ready() function ---

PRELUDE = """#!%s
import os, signal, subprocess, sys, time
def ready(line):
    fd = int(os.environ["DS_READY_FD"])
    os.write(fd, line.encode() + b"\\n")
    os.close(fd)
def serve():
    while True:
        time.sleep(0.05)
""" % sys.executable

STAND_INS = {
    "good": 'ready(f"READY 1 {os.getpid()}"); serve()',
    "says no": 'ready("FAILED shared memory: 8 GiB wanted, 1 GiB free"); sys.exit(1)',
    "dies": """
print("boom on stdout", flush=True)
print("boom on stderr", file=sys.stderr)
sys.exit(3)""",
    "is killed": "os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "signal.signal(signal.SIGTERM, signal.SIG_IGN); serve()",
    "closes the pipe": 'os.close(int(os.environ["DS_READY_FD"])); serve()',
    "answers oddly": 'ready("hello\\nREADY soon\\nREADY 1 " + str(os.getpid())); serve()',
    "ignores SIGTERM": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ready(f"READY 1 {os.getpid()}")
serve()""",
    # A worker in a session of its own outlives its keeper unless it is looked for.
    "hangs with a worker": """
worker = os.path.join(os.path.dirname(sys.argv[0]), "dsworker")
subprocess.Popen([worker, *sys.argv[1:]], start_new_session=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
serve()""",
    # Tells what it was given before it serves.
    "tells": """
import json
status = open("/proc/self/status").read()
seen = {
    "args": sys.argv[1:], "cwd": os.getcwd(), "session": os.getsid(0) == os.getpid(),
    "stdin": os.readlink("/proc/self/fd/0"), "umask": status.split("Umask:")[1].split()[0],
    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)),
    "ready_fd": int(os.environ["DS_READY_FD"]),
    "blocked": int(status.split("SigBlk:")[1].split()[0], 16),
}
open(os.environ["TELL"], "w").write(json.dumps(seen))
ready(f"READY 1 {os.getpid()}")
serve()""",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes_of(address):
    """pids of processes with --worker_address=ADDRESS among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                args = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"--worker_address={address}".encode() in args and b"dscli" not in args[0]:
                found.append(int(entry.name))
    return found


def gone(pids, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}/cmdline").exists() and alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Cli:
    """dscli in a directory of its own, with a stand-in as its keeper."""

    def __init__(self, tmp_path):
        self.dir = tmp_path
        self.address = f"127.0.0.1:{free_port()}"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("DATASYSTEM_", "DS_"))}
        self.env["LSAN_OPTIONS"] = "exitcode=23"

    def keeper(self, kind):
        programs = self.dir / "programs"
        programs.mkdir(exist_ok=True)
        for name, body in (("dskeeper", STAND_INS[kind]), ("dsworker", "serve()")):
            (programs / name).write_text(PRELUDE + body + "\n")
            (programs / name).chmod(0o755)
        self.env["DS_BIN_DIR"] = str(programs)

    def run(self, *args, **kwargs):
        kwargs = {"env": self.env, "cwd": self.dir, "timeout": 60, "stdin": subprocess.DEVNULL, **kwargs}
        return subprocess.run([DSCLI, *map(str, args)], capture_output=True, text=True, **kwargs)

    def start(self, *flags, before=()):
        return self.run("start", *before, "-w", "--worker_address", self.address, *flags)

    def config(self, *args, **env):
        done = self.run("config", "--json", *args, env={**self.env, **env})
        return json.loads(done.stdout) if done.returncode == OK else done.stderr

    def file(self, text):
        path = self.dir / "worker_config.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    yield cli
    left = processes_of(cli.address)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def last_error(done):
    return done.stderr.strip().splitlines()[-1]


# --- help, usage ---


@pytest.mark.parametrize("args", [(), ("help",), ("--help",), ("-h",)])
def test_help_lists_the_commands(cli, args):
    done = cli.run(*args)
    assert done.returncode == OK and done.stderr == ""
    for command in ("start", "stop", "status", "upgrade", "get", "set", "del", "exist", "why",
                    "config"):  # fmt: skip
        assert f"\n  {command} " in done.stdout


def test_every_command_has_help(cli):
    data = json.loads(cli.run("help", "--json").stdout)
    assert len(data["commands"]) > 15
    for command in data["commands"]:
        done = cli.run(command["name"], "--help")
        assert done.returncode == OK, command
        assert done.stdout.startswith(f"usage: dscli {command['name']}")
        assert done.stdout == cli.run("help", command["name"]).stdout


def test_version(cli):
    assert re.fullmatch(r"dscli \d+\.\d+\.\d+\n", cli.run("--version").stdout)
    assert cli.run("version").stdout == cli.run("--version").stdout


@pytest.mark.parametrize(
    "args, text",
    [
        (("nonsense",), "there is no command 'nonsense'"),
        (("start", "--nonsense"), "unknown option --nonsense"),
        (("start", "--time", "3"), "unknown option --time"),  # no abbreviations
        (("start", "stray"), "unexpected argument stray"),
        (("start", "-t"), "a value is missing after -t"),
        (("start", "-t", "soon"), "'soon' is no time"),
        (("start", "-t", "0"), "'0' is no time"),
        (("start", "--localalloc=yes"), "no value is taken by --localalloc=yes"),
        (("start", "--worker_args=x"), "nothing may be attached to"),
        (("stop", "-w", "nowhere"), "'nowhere' is no worker address"),
        (("set", "key"), "missing: KEY VALUE|-"),
        (("get",), "missing: KEY"),
        (("get", "a", "b"), "unexpected argument b"),
        (("set", "k", "v", "--ttl", "soon"), "'soon' is no time to live"),
        (("help", "nonsense"), "there is no command 'nonsense'"),
    ],
)
def test_wrong_usage_is_2_and_says_so(cli, args, text):
    done = cli.run(*args)
    assert done.returncode == USAGE and text in done.stderr and done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    "up down query runscript generate_helm_chart generate_cpp_template"
    " generate_docker_entryfile collect_log".split(),
)
def test_commands_of_the_original_that_are_not_there_say_so(cli, command):
    done = cli.run(command, "-f", "cluster_config.json", "anything")
    assert done.returncode == FAILED
    assert done.stderr.startswith(f"[ERROR] dscli {command} is not there yet: ")


def test_output_that_cannot_be_written_is_a_failure(cli):
    with open("/dev/full", "w") as full:
        done = subprocess.run([DSCLI, "help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == FAILED and "cannot write the output" in done.stderr


# --- start ---


def test_start_prints_the_original_line_and_the_keepers_pid(cli):
    cli.keeper("good")
    done = cli.start()
    assert done.returncode == OK and done.stderr == ""
    match = re.search(
        rf"^\[INFO\] \[  OK  \] Start worker service @ {cli.address} success, PID: (\d+)$",
        done.stdout,
        re.MULTILINE,
    )
    assert [int(match[1])] == processes_of(cli.address)


def test_start_gives_a_clean_process(cli):
    cli.keeper("tells")
    cli.env["TELL"] = str(cli.dir / "seen.json")
    flags = ["--shared_memory_size_mb", "64M", "--log_dir=./logs", "--max_client_num", "200"]
    flags += ["--shared_memory_populate", "--use_brpc", "true"]
    with open(cli.dir / "lock", "w") as lock:
        done = subprocess.run(
            [DSCLI, "start", "-d", "home", "-w", "--worker_address", cli.address, *flags],
            cwd=cli.dir,
            env=cli.env,
            pass_fds=[lock.fileno()],
            preexec_fn=lambda: os.umask(0),
            timeout=60,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert f"[INFO] Log directory configured at: {cli.dir}/home/logs" in done.stdout
    seen = json.loads((cli.dir / "seen.json").read_text())
    assert set(seen["args"]) == {
        f"--worker_address={cli.address}",
        f"--data_home={cli.dir}/home",
        "--shared_memory_size_mb=64M",
        "--shared_memory_populate=true",
        "--max_client_num=200",  # the default, but said aloud
        f"--log_dir={cli.dir}/home/logs",
    }
    assert seen["cwd"] == "/" and seen["session"] and seen["stdin"] == "/dev/null"
    assert seen["umask"] == "0077" and seen["blocked"] == 0
    assert seen["fds"] == [0, 1, 2, seen["ready_fd"]]


def test_start_takes_its_defaults_alone(cli):
    cli.keeper("tells")
    cli.env["TELL"] = str(cli.dir / "seen.json")
    cli.env["DATASYSTEM_WORKER_ADDRESS"] = cli.address
    assert cli.run("start").returncode == OK
    assert json.loads((cli.dir / "seen.json").read_text())["args"] == [f"--worker_address={cli.address}"]


def test_start_reports_what_the_keeper_says(cli):
    cli.keeper("says no")
    done = cli.start()
    assert done.returncode == FAILED and done.stdout == ""
    assert last_error(done) == (
        f"[ERROR] [  FAILED  ] Start worker service @ {cli.address} failed: "
        "shared memory: 8 GiB wanted, 1 GiB free"
    )
    assert processes_of(cli.address) == []


def test_start_shows_the_last_words_of_a_keeper_that_dies(cli):
    cli.keeper("dies")
    done = cli.start()
    assert done.returncode == FAILED
    assert "boom on stdout\nboom on stderr\n" in done.stderr
    assert last_error(done).endswith("the keeper ended with code 3 before it was ready")


def test_start_names_the_signal_that_killed_the_keeper(cli):
    cli.keeper("is killed")
    done = cli.start()
    assert done.returncode == FAILED
    assert "the keeper was killed by signal 11 (Segmentation fault)" in last_error(done)


@pytest.mark.parametrize("kind", ["hangs", "hangs with a worker"])
def test_start_that_times_out_leaves_nothing(cli, kind):
    cli.keeper(kind)
    begin = time.monotonic()
    done = cli.start(before=("-t", "500ms"))
    assert done.returncode == FAILED and time.monotonic() - begin < 10
    assert "was not ready within 0.5 seconds; everything started was ended again" in last_error(done)
    assert processes_of(cli.address) == []


def test_start_does_not_wait_for_a_keeper_that_closed_the_pipe(cli):
    cli.keeper("closes the pipe")
    begin = time.monotonic()
    done = cli.start()
    assert done.returncode == FAILED and time.monotonic() - begin < 10
    assert "closed its end of the pipe without a word" in last_error(done)
    assert processes_of(cli.address) == []


def test_start_skips_lines_that_are_no_answer(cli):
    cli.keeper("answers oddly")
    assert cli.start().returncode == OK


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_start_that_is_interrupted_leaves_nothing(cli, sig):
    cli.keeper("hangs with a worker")
    args = [DSCLI, "start", "-w", "--worker_address", cli.address]
    with subprocess.Popen(args, env=cli.env, cwd=cli.dir, stderr=subprocess.PIPE, text=True) as dscli:
        end = time.monotonic() + 20
        while len(processes_of(cli.address)) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        dscli.send_signal(sig)
        _, stderr = dscli.communicate(timeout=30)
    assert dscli.returncode == INTERRUPTED and "failed: interrupted" in stderr
    assert processes_of(cli.address) == []


@pytest.mark.parametrize(
    "flags, text",
    [
        (
            ["--shared_memroy_size_mb", "64"],
            "unknown flag --shared_memroy_size_mb; did you mean --shared_memory_size_mb?",
        ),
        (
            ["--shared_memory_size_mb", "lots"],
            "--shared_memory_size_mb=lots is not accepted: give a size from 1 to 16777216 MiB",
        ),
        (["--max_client_num"], "--max_client_num needs a value: a whole number from 1 to 10000"),
        (
            ["--etcd_address", "127.0.0.1:2379"],
            "--etcd_address is refused: clusters are not there yet: leave it out to run a single node",
        ),
        (["--coordinator_address", "127.0.0.1:31511"], "--coordinator_address is refused: "),
        (["--metastore_address", "127.0.0.1:2379"], "--metastore_address is refused: "),
        (["--shared_disk_directory", "disk"], "--shared_disk_directory is refused: "),
        (["--l2_cache_type", "distributed_disk"], "--l2_cache_type=distributed_disk is refused: "),
        (["--enable_urma", "true"], "--enable_urma is refused: "),
        (["--log_dir", "/etc/x"], "it is in a directory of the system"),
        (["--unix_domain_socket_dir", "x" * 80], "is not accepted: give a path of at most 80 bytes"),
        (["-N", "0"], "-N is an option of numactl: put it before -w"),
        (["--membind=0"], "--membind=0 is an option of numactl: put it before -w"),
    ],
)
def test_start_refuses_bad_options_before_it_starts_anything(cli, flags, text):
    cli.keeper("tells")
    cli.env["TELL"] = str(cli.dir / "seen.json")
    done = cli.start(*flags)
    assert done.returncode == FAILED and text in last_error(done) and done.stdout == ""
    assert not (cli.dir / "seen.json").exists()


def test_start_warns_of_flags_without_a_meaning(cli):
    cli.keeper("good")
    done = cli.start("--cluster_name", "blue", "--use_brpc", "false", "--oc_thread_num", "32")
    assert done.returncode == OK
    assert [line.split(" is ignored: ")[0] for line in done.stderr.splitlines()] == [
        "[WARNING] --cluster_name",
        "[WARNING] --use_brpc",
    ]


@pytest.mark.parametrize("option", ["-C", "-c", "-a", "--coordinator_args", "--enable_ums"])
def test_start_says_what_is_not_there(cli, option):
    done = cli.run("start", option, *(["file"] if option == "-C" else []))
    assert done.returncode == FAILED and done.stderr.startswith("[ERROR] Start failed: ")


def test_start_without_the_programs_says_where_it_looked(cli):
    cli.env["DS_BIN_DIR"] = str(cli.dir)
    done = cli.start()
    assert done.returncode == FAILED
    assert f"cannot run {cli.dir}/dsworker: No such file or directory" in last_error(done)
    cli.env["DS_BIN_DIR"] = str(cli.dir / "missing")
    assert "DS_BIN_DIR=" in last_error(cli.start())


def test_numactl_is_asked_for_or_missed(cli):
    cli.keeper("good")
    cli.env["PATH"] = str(cli.dir / "path")
    (cli.dir / "path").mkdir()
    done = cli.start(before=("-N", "0"))
    assert done.returncode == FAILED
    assert "numactl is not installed on this host, and --cpunodebind needs it" in done.stderr

    numactl = cli.dir / "path/numactl"
    body = 'n = 1\nwhile sys.argv[n].startswith("-"): n += 1\n'
    body += 'open(os.environ["TELL"], "w").write(" ".join(sys.argv[1:n]))\n'
    body += "os.execv(sys.argv[n], sys.argv[n:])\n"
    numactl.write_text(PRELUDE + body)
    numactl.chmod(0o755)
    cli.env["TELL"] = str(cli.dir / "numactl.args")
    done = cli.start(before=("-N", "0,1", "-m", "0", "--physcpubind=2-3", "-l"))
    assert done.returncode == OK
    assert (cli.dir / "numactl.args").read_text() == (
        "--cpunodebind=0,1 --physcpubind=2-3 --membind=0 --localalloc"
    )


def test_start_works_from_a_long_directory_and_writes_nothing_there(cli):
    cli.keeper("good")
    deep = cli.dir / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    done = cli.run("start", "-w", "--worker_address", cli.address, cwd=deep)
    assert done.returncode == OK and list(deep.iterdir()) == []


# --- stop ---


def test_stop_ends_a_worker_that_does_not_answer(cli):
    cli.keeper("good")
    assert cli.start().returncode == OK
    (pid,) = processes_of(cli.address)
    done = cli.run("stop", "--worker_address", cli.address)
    assert done.returncode == OK
    assert f"[INFO] [  OK  ] Stop worker service @ {cli.address} normally, PID: {pid}\n" in done.stdout
    assert gone([pid])


def test_stop_kills_what_does_not_end(cli):
    cli.keeper("ignores SIGTERM")
    assert cli.start().returncode == OK
    (pid,) = processes_of(cli.address)
    done = cli.run("stop", "-w", cli.address, "-t", "300ms")
    assert done.returncode == OK
    assert f"[INFO] [  OK  ] Force stop worker service @ {cli.address}, PID: {pid}\n" in done.stdout
    assert "did not end within 0.3 seconds: it is killed" in done.stderr
    assert gone([pid])


def test_stop_takes_the_address_from_the_file(cli):
    cli.keeper("good")
    config = cli.file(json.dumps({"worker_address": {"value": cli.address}, "etcd_address": "x:1"}))
    assert cli.start().returncode == OK
    assert cli.run("stop", "-f", config).returncode == OK
    assert processes_of(cli.address) == []


def test_stop_ends_only_the_worker_of_that_address(cli):
    cli.keeper("good")
    cli.address = f"127.0.0.1:1{free_port() % 1000:03}"
    other = cli.address + "1"
    assert cli.start().returncode == OK
    assert cli.run("start", "-w", "--worker_address", other).returncode == OK
    try:
        assert cli.run("stop", "-w", cli.address).returncode == OK
        assert processes_of(cli.address) == [] and len(processes_of(other)) == 1
    finally:
        cli.run("stop", "-w", other)


def test_stop_of_nothing_fails(cli):
    done = cli.run("stop", "-w", cli.address)
    assert done.returncode == FAILED
    assert last_error(done) == (
        f"[ERROR] [  FAILED  ] Stop worker service @ {cli.address} failed: no worker runs there"
    )


# --- a worker that is not there ---


def test_status_of_nothing_is_3(cli):
    done = cli.run("status", "-w", cli.address)
    assert done.returncode == NOT_RUNNING and done.stdout == ""
    assert f"no worker runs @ {cli.address}" in done.stderr
    done = cli.run("status", "--json", "-w", cli.address)
    assert done.returncode == NOT_RUNNING
    assert json.loads(done.stdout) == {"running": False, "worker_address": cli.address}


def test_the_default_address_comes_from_the_environment(cli):
    host, port = cli.address.split(":")
    cli.env.update(DATASYSTEM_HOST=host, DATASYSTEM_PORT=port)
    assert f"no worker runs @ {cli.address}" in cli.run("status").stderr


@pytest.mark.parametrize(
    "args", [("get", "k"), ("set", "k", "v"), ("del", "k"), ("exist", "k"), ("why", "k")]
)
def test_data_commands_without_a_worker_fail(cli, args):
    done = cli.run(*args, "-w", cli.address)
    assert done.returncode == FAILED and f"no worker answers at {cli.address}" in done.stderr


# --- configuration ---


def test_flag_beats_environment_beats_file_beats_default(cli):
    config = cli.file('{"max_client_num": {"value": "10"}, "v": 1, "minloglevel": "2"}')
    env = {"DATASYSTEM_MAX_CLIENT_NUM": "20", "DATASYSTEM_V": "2"}
    seen = cli.config("-f", config, "-w", "--max_client_num", "30", **env)
    assert seen["max_client_num"] == {"value": "30", "source": "flag"}
    assert seen["v"] == {"value": "2", "source": "environment"}
    assert seen["minloglevel"] == {"value": "2", "source": "file"}
    assert seen["shared_memory_size_mb"] == {"value": "1024", "source": "default"}


def test_config_shows_names_values_sources(cli):
    done = cli.run("config", "-w", "--max_client_num", "7")
    assert done.returncode == OK
    assert re.search(r"^max_client_num +flag +7$", done.stdout, re.MULTILINE)
    assert "etcd_address" not in done.stdout
    assert "etcd_address" in cli.run("config", "--all").stdout


def test_config_hides_secrets_and_refuses_what_start_refuses(cli):
    done = cli.run("config", "-w", "--system_secret_key", "hunter2", "--etcd_password=hunter3")
    assert done.returncode == FAILED and "hunter" not in done.stdout + done.stderr
    assert "--system_secret_key is refused" in done.stderr


def test_paths_are_relative_to_the_home(cli):
    config = cli.file('{"log_dir": "./logs", "ready_check_path": "/abs/ready"}')
    assert cli.config("-f", config)["log_dir"]["value"] == f"{cli.dir}/logs"
    seen = cli.config("-d", "/home/x", "-f", config)
    assert seen["log_dir"]["value"] == "/home/x/logs"
    assert seen["ready_check_path"]["value"] == "/abs/ready"


def test_file_of_the_original_is_read_in_silence(cli):
    """Every flag at the original's default, in the forms that its files have."""
    data = json.loads(cli.run("help", "--json").stdout)
    flags = {o["name"]: {"value": o["default"], "description": "d"} for o in data["options"]}
    flags["eviction_high_watermark_ratio"]["value"] = "0.9"
    flags["unix_domain_socket_dir"]["value"] = "./datasystem/uds"
    flags["spill_size_limit"]["value"] = 0
    flags["enable_data_replication"]["value"] = "True"
    flags["yuanrong_iam_cert"] = {"default": "", "description": "no value"}
    flags["service_type"] = "worker"
    config = cli.file(json.dumps(flags, indent="\t"))
    done = cli.run("config", "--json", "-d", "/home/x", "-f", config)
    assert done.returncode == OK and done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["eviction_high_watermark_ratio"] == {"value": "0.9", "source": "file"}
    assert seen["unix_domain_socket_dir"]["value"] == "/home/x/datasystem/uds"


def test_every_flag_that_the_original_knew_is_known(cli):
    """With the values of a file of its release 0.8.1 where those differ from other releases."""
    text = Path(__file__).with_name("original_flags.txt").read_text(encoding="ascii")
    names = text.split("\n", 1)[1].split()
    assert len(names) > 190
    flags = {name: {"value": "", "description": "d"} for name in names}
    flags["client_reconnect_wait_s"]["value"] = "5"
    flags["eviction_thread_num"]["value"] = "1"
    flags["enable_hash_ring_self_healing"]["value"] = "false"
    flags["cross_cluster_get_data_from_worker"]["value"] = "true"
    flags["enable_reconciliation"]["value"] = "true"
    flags["log_compress"]["value"] = "true"
    flags["log_rate_limit"]["value"] = "0"
    flags["rebalance_source_usage_percent"]["value"] = "70"
    flags["remote_h2d_hccs_buffer_pool"]["value"] = "4:8"
    flags["urma_mode"]["value"] = "UB"
    flags["io_thread_nice"]["value"] = "-15"
    flags["log_dir"]["value"] = "./datasystem/logs"
    done = cli.run("config", "-f", cli.file(json.dumps(flags)))
    assert (done.returncode, done.stderr) == (OK, "")

    flags["cluster_name"]["value"] = "blue"
    flags["oc_thread_num"]["value"] = "33"
    done = cli.run("config", "-f", cli.file(json.dumps(flags)))
    assert done.returncode == OK
    [warning] = done.stderr.splitlines()
    assert warning.endswith(": cluster_name, oc_thread_num")
    assert re.search(r"^cluster_name +file +blue +\(ignored: \w", done.stdout, re.MULTILINE)

    done = cli.run("config", "-f", cli.file('{"shared_memory_size": {"value": "1"}}'))
    assert done.returncode == FAILED
    assert "unknown flag shared_memory_size; did you mean shared_memory_size_mb?" in done.stderr


@pytest.mark.parametrize(
    "text, value",
    [
        ('{"v": 2}', "2"),
        ('{"v": "2"}', "2"),
        ('{"v": {"value": 2}}', "2"),
        ('{"v": {"value": "", "default": "2"}}', "2"),
        ('{"v": {"value": " 2 ", "description": "x"}}\n\n', "2"),
        ('\ufeff{"v": 2.0}', "2"),
        ('{"v": ""}', "0"),
        ("{}", "0"),
    ],
)
def test_file_forms(cli, text, value):
    assert cli.config("-f", cli.file(text))["v"]["value"] == value


@pytest.mark.parametrize(
    "text, error",
    [
        ("", "no correct JSON at line 1, column 1"),
        ('{"v": 1\n,}', "no correct JSON at line 2"),
        ('{"v": 1} trailing', "no correct JSON at line 1"),
        ('{"v": 1}\0', "line 1 has a byte that is no UTF-8 text"),
        (b'{"log_filename": "\xff"}', "line 1 has a byte that is no UTF-8 text"),
        ('{"log_filename": "a\\u0000b"}', "line 1 has a string with \\u0000"),
        ('{"log_filename": "a\\nb"}', "is not accepted"),
        ("[1]", "it is no JSON object"),
        ("1", "it is no JSON object"),
        ('{"v": 1, "v": 1}', '"v" is given twice'),
        ('{"v": {"value": 1, "value": 1}}', '"v" has "value" twice'),
        ('{"V": 1}', "unknown flag V; did you mean v?"),
        ('{"shared_memory_size": 1}', "did you mean shared_memory_size_mb?"),
        ('{"v": {"Value": 1}}', 'has "Value", where only value, description and default may be'),
        ('{"v": {"description": "x"}}', '"v" has no "value"'),
        ('{"v": {}}', '"v" has no "value"'),
        ('{"v": null}', "give a string, true, false or a number"),
        ('{"v": [1]}', "give a string, true, false or a number"),
        ('{"v": {"value": {"value": 1}}}', "give a string, true, false or a number"),
        ('{"shared_memory_size_mb": 9007199254740993}', "large ones as a string"),
        ('{"v": 1e999}', "give a string, true, false or a number"),
        ('{"v": 1.5}', '"v": "1.5" is not accepted'),
        ('{"v": true}', '"v": "true" is not accepted'),
        ('{"v": ' + "[" * 100000, "no correct JSON"),
        (" " * (1 << 20) + "{}", "it has more than 1048576 bytes"),
    ],
)
def test_file_errors(cli, text, error):
    path = cli.file(text)
    done = cli.run("config", "-f", path)
    assert done.returncode == FAILED and done.stdout == ""
    assert done.stderr.startswith(f"[ERROR] {path}: ") and error in done.stderr


def test_file_that_cannot_be_read(cli):
    assert "No such file or directory" in cli.config("-f", "missing.json")
    assert "Is a directory" in cli.config("-f", ".")
    done = cli.run("start", "-f", "missing.json")
    assert done.returncode == FAILED and "cannot read missing.json" in last_error(done)


def test_file_may_be_a_pipe(cli):
    done = cli.run("config", "--json", "-f", "/dev/stdin", input='{"v": 3}', stdin=None)
    assert json.loads(done.stdout)["v"]["value"] == "3"


def test_generate_config_writes_what_start_reads(cli):
    out = cli.dir / "out"
    out.mkdir()
    done = cli.run("generate_config", "-o", "out")
    assert done.returncode == OK
    path = out / "worker_config.json"
    assert f"[INFO] Configuration file worker_config.json has been generated to {path}" in done.stdout
    flags = json.loads(path.read_text())
    assert flags["shared_memory_size_mb"]["value"] == "1024"
    assert all(set(flag) == {"value", "description"} for flag in flags.values())
    for extra in ([], ["--all"]):
        assert cli.run("generate_config", "-o", "out", *extra).returncode == OK
        done = cli.run("config", "-f", path)
        assert done.returncode == OK and done.stderr == ""
    assert len(json.loads(path.read_text())) > 200


def test_generate_config_says_why_it_cannot(cli):
    cli.file("{}")
    for args in (("-o", "missing"), ("-o", "worker_config.json"), ("-o", "/proc/self")):
        done = cli.run("generate_config", *args)
        assert done.returncode == FAILED and done.stderr.startswith("[ERROR] Generate failed: ")


# --- what is generated from the tables ---


def test_documents_are_current():
    done = subprocess.run(
        [sys.executable, ROOT / "tools/gen_docs.py", "--check", DSCLI],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_completion_completes(cli):
    script = cli.run("completion").stdout
    lines = ["COMP_WORDS=({}); COMP_CWORD={}; _dscli; echo ${{COMPREPLY[@]}}".format(*x) for x in (
        ("dscli sta", 1), ("dscli status --j", 2), ("dscli start -w --shared_memory_s", 3),
        ("dscli stop -w --shared_memory_s", 3),
    )]  # fmt: skip
    done = subprocess.run(["bash", "-uc", "\n".join([script, *(f"{l} || true" for l in lines)])],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.splitlines() == ["start status", "--json", "--shared_memory_size_mb", ""]


# --- the real programs ---

real = pytest.mark.skipif(
    not all((BIN / name).exists() for name in ("dskeeper", "dsworker")),
    reason="dskeeper and dsworker are not built",
)


@pytest.fixture
def worker(cli):
    done = cli.start("--shared_memory_size_mb", "64")
    assert done.returncode == OK, done.stderr
    host, port = cli.address.split(":")
    cli.env.update(DATASYSTEM_HOST=host, DATASYSTEM_PORT=port)
    yield cli
    cli.run("stop", "-w", cli.address)


@real
def test_real_worker_starts_serves_and_stops(worker):
    status = json.loads(worker.run("status", "--json").stdout)
    assert status["running"] and status["worker_address"] == worker.address
    assert status["memory_size_bytes"] == 64 << 20
    pids = processes_of(worker.address)
    assert {status["worker_pid"], status["keeper_pid"]} <= set(pids)
    table = worker.run("status").stdout
    assert re.search(rf"^worker +{worker.address}$", table, re.MULTILINE)
    assert re.search(r"^memory +64\.0 MiB$", table, re.MULTILINE)

    done = worker.start()
    assert done.returncode == FAILED and "a worker runs there already" in last_error(done)

    done = worker.run("stop", "-w", worker.address)
    assert done.returncode == OK
    assert f"Stop worker service @ {worker.address} normally, PID: " in done.stdout
    assert gone(pids) and worker.run("status").returncode == NOT_RUNNING


@real
def test_real_worker_that_hangs_is_killed(worker):
    pids = processes_of(worker.address)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    done = worker.run("stop", "-w", worker.address, "-t", "500ms")
    assert done.returncode == OK and "Force stop worker service" in done.stdout
    assert "does not answer" in done.stderr and gone(pids)
    assert worker.start("--shared_memory_size_mb", "64").returncode == OK  # nothing is in the way


@real
def test_real_worker_keeps_values(worker):
    assert worker.run("set", "greeting", "hello").returncode == OK
    assert worker.run("get", "greeting").stdout == "hello"
    assert worker.run("set", "piped", "-", input="x" * 3_000_000, stdin=None).returncode == OK
    assert worker.run("get", "piped", "-o", "value").returncode == OK
    assert (worker.dir / "value").read_text() == "x" * 3_000_000
    done = worker.run("set", "--nx", "greeting", "other")
    assert done.returncode == FAILED and "exists" in done.stderr
    done = worker.run("exist", "greeting", "missing")
    assert done.returncode == FAILED and done.stdout == "true greeting\nfalse missing\n"
    assert worker.run("del", "greeting", "missing").returncode == OK
    done = worker.run("get", "greeting")
    assert done.returncode == FAILED and f"key greeting not found @ {worker.address}" in done.stderr
    assert worker.run("set", "--ttl", "200ms", "short", "x").returncode == OK
    time.sleep(0.3)
    assert worker.run("exist", "short").returncode == FAILED


@real
def test_real_worker_says_why_a_key_is_gone(worker):
    def why(key):
        done = worker.run("why", key)
        assert done.returncode == OK, done.stderr
        return done.stdout

    def figures():
        return json.loads(worker.run("status", "--json").stdout)

    assert why("never").startswith("not known: never set, or before the last 65536 keys that went")
    assert worker.run("set", "greeting", "hello").returncode == OK
    assert worker.run("set", "greeting", "hello again").returncode == OK
    assert why("greeting") == "there\n"
    assert worker.run("del", "greeting").returncode == OK
    assert re.fullmatch(r"deleted \d+\.\d s ago\n", why("greeting"))
    assert worker.run("set", "--ttl", "200ms", "short", "x").returncode == OK
    time.sleep(0.5)
    assert re.fullmatch(r"expired \d+\.\d s ago\n", why("short"))

    for i in range(5):  # the first ones make room for the last
        value = "x" * (20 << 20)
        done = worker.run("set", "--evictable", f"big{i}", "-", input=value, stdin=None)
        assert done.returncode == OK, done.stderr
    assert re.fullmatch(r"evicted from memory \d+\.\d s ago\n", why("big0"))
    assert why("big4") == "there\n"

    before = figures()
    for key in ("never", "greeting", "big0"):
        assert worker.run("get", key).returncode == FAILED
    assert worker.run("exist", "short", "big0", "big4").returncode == FAILED
    after = figures()
    assert after["misses"] - before["misses"] == 5
    assert after["misses_evicted"] - before["misses_evicted"] == 2
    ways_out = ("deletes", "releases", "expirations", "evictions", "replacements")
    assert after["sets"] == after["objects"] + sum(after[name] for name in ways_out) == 8

    assert worker.run("why").returncode == USAGE
    assert worker.run("upgrade").returncode == OK  # the next one remembers
    assert re.fullmatch(r"deleted \d+\.\d s ago\n", why("greeting"))
    assert why("big4") == "there\n"


@real
def test_real_worker_is_upgraded(worker):
    assert worker.run("set", "kept", "value").returncode == OK
    before = json.loads(worker.run("status", "--json").stdout)
    done = worker.run("upgrade")
    assert done.returncode == OK, done.stderr
    after = json.loads(worker.run("status", "--json").stdout)
    assert f"PID: {before['worker_pid']} -> {after['worker_pid']}" in done.stdout
    assert before["worker_pid"] != after["worker_pid"]
    assert before["keeper_pid"] == after["keeper_pid"]
    assert worker.run("get", "kept").stdout == "value"


@real
def test_real_worker_goes_on_after_an_upgrade_that_fails(worker):
    assert worker.run("set", "kept", "value").returncode == OK
    broken = worker.dir / "dsworker.broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    done = worker.run("upgrade", "--worker_binary", broken)
    assert done.returncode == FAILED and "the program before runs again, PID: " in last_error(done)
    assert worker.run("get", "kept").stdout == "value"
    for missing in (worker.dir / "missing", worker.dir):
        assert "Upgrade failed: cannot run" in worker.run("upgrade", "-b", missing).stderr


@real
def test_real_worker_set_has_the_rules_of_the_original(worker):
    done = worker.run("set", "a/b", "x")
    assert done.returncode == FAILED and "allowed are 1 to 1024 of a-z" in done.stderr
    assert worker.run("set", "k" * 1025, "x").returncode == FAILED
    assert worker.run("set", "--any_key", "a/b", "x").returncode == OK
    assert worker.run("get", "a/b").stdout == "x"
    for value in ("", "-"):
        done = worker.run("set", "nothing", value)
        assert done.returncode == FAILED and "(--allow_empty takes it)" in done.stderr
    assert worker.run("exist", "nothing").returncode == FAILED
    assert worker.run("set", "--allow_empty", "nothing", "").returncode == OK
    assert worker.run("exist", "nothing").returncode == OK


@real
def test_real_worker_whose_socket_directory_would_be_too_long(worker):
    assert worker.run("stop", "-w", worker.address).returncode == OK
    home = worker.dir / ("long" * 30)
    home.mkdir()
    config = worker.file('{"unix_domain_socket_dir": {"value": "./datasystem/uds"}}')
    small = ("-w", "--worker_address", worker.address, "--shared_memory_size_mb", "16")
    done = worker.run("start", "-d", home, "-f", config, *small)
    assert done.returncode == OK, done.stderr
    assert done.stdout.count("unix_domain_socket_dir ./datasystem/uds would be too long") == 1
    assert worker.run("set", "k", "v", "-w", worker.address).returncode == OK
    assert list(home.iterdir()) == []
    assert worker.run("stop", "-w", worker.address).returncode == OK
    done = worker.run("start", "-d", home, *small, "--unix_domain_socket_dir", "./other")
    assert done.returncode == FAILED and "at most 80 bytes" in done.stderr


@real
def test_real_start_that_fails_leaves_no_log(cli):
    cli.env["XDG_RUNTIME_DIR"] = "/tmp/" + os.urandom(6).hex()
    Path(cli.env["XDG_RUNTIME_DIR"]).mkdir(mode=0o700)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            cli.address = f"127.0.0.1:{taken.getsockname()[1]}"
            done = cli.start("--shared_memory_size_mb", "16")
        assert done.returncode == FAILED and "cannot listen on" in last_error(done)
        assert 'msg="keeper ends"' in done.stderr  # the log's lines
        assert list(Path(cli.env["XDG_RUNTIME_DIR"]).iterdir()) == []
    finally:
        shutil.rmtree(cli.env["XDG_RUNTIME_DIR"])


def test_start_names_the_option_of_a_bad_home(cli):
    for home, cwd in (("/", cli.dir), (".", "/")):
        done = cli.run("start", "-d", home, "-w", "--worker_address", cli.address, cwd=cwd)
        assert done.returncode == FAILED and f"-d {home} is refused" in last_error(done)
        assert "--data_home" not in done.stderr
