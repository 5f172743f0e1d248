"""The sandbox: honest programs pass, hostile ones fail, and leave nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import venv
from pathlib import Path
from uuid import uuid4

import pytest
from support.hostile import ATTACKS, CHEATS

from lift_harness.errors import LiftError
from lift_harness.tasks.sandbox import Program, commands, isolation, run, runner
from lift_harness.tasks.sandbox.guest import decode, encode, receive, send

TESTS = "assert f(1) == 2\nassert f(41) == 42\n"
SHORT = {"wall_s": 4, "cpu_s": 1, "memory_mb": 512}
MARK = f"LIFT_SANDBOX_TEST_{uuid4().hex}"


def plus_one(solution, tests=TESTS):
    return Program(solution, tests, ("f",))


@pytest.fixture(scope="module", autouse=True)
def marked():
    """Whatever the sandbox starts here carries `MARK` in its environment."""
    commands.environment.cache_clear()
    commands.ENVIRONMENT[MARK] = "1"
    yield
    del commands.ENVIRONMENT[MARK]
    commands.environment.cache_clear()


@pytest.fixture
def isolated():
    if isolation() == "none":
        pytest.skip("no isolation on this machine")


def left_over():
    """Ids of marked processes that are alive."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if MARK.encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:  # it ended, or is another user's
            continue
    return found


def nothing_left():
    deadline = time.monotonic() + 5  # the kernel takes a moment to end a namespace
    while left_over() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left_over()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """Every hostile program's verdict, and what was outside afterwards."""
    if isolation() == "none":
        pytest.skip("no isolation on this machine")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "canary").write_text("alive")
    home = Path.home()
    before = sorted(home.iterdir())
    os.environ["LIFT_HOSTILE_SECRET"] = "1"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0lift-hostile-{os.getpid()}")
        abstract.listen()
        known = {
            "OUTSIDE": str(outside),
            "HOMEDIR": str(home),
            "PARENT": str(os.getpid()),
            "PORT": str(server.getsockname()[1]),
            "SITE": repr(sysconfig.get_paths()["purelib"]),
            "PIDS": repr([os.getpid(), os.getppid()]),
        }
        sources = {**CHEATS, **ATTACKS}
        for name, source in sources.items():
            for word, value in known.items():
                source = source.replace(word, value)
            sources[name] = source
        verdicts = run([plus_one(source) for source in sources.values()], **SHORT, output_bytes=1000)
    del os.environ["LIFT_HOSTILE_SECRET"]
    new = [path for path in home.iterdir() if path not in before and "hostile" in path.name]
    return dict(zip(sources, verdicts, strict=True)), outside, new


def test_there_are_enough_of_them():
    assert len(CHEATS) + len(ATTACKS) >= 40


@pytest.mark.parametrize("name", [*CHEATS, *ATTACKS])
def test_hostile_programs_fail(attacked, name):
    verdict = attacked[0][name]
    assert not verdict.passed and verdict.reason != "passed", verdict
    assert verdict.seconds < 4 + 3 and len(verdict.output) <= 1000


def test_attacks_got_as_far_as_their_attack(attacked):
    # Wrong, and not broken: the function came back and said that it had not escaped.
    own_end = {"kill everybody", "kill process 1"}
    reasons = {name: attacked[0][name] for name in ATTACKS if name not in own_end}
    assert {name: v for name, v in reasons.items() if v.reason != "wrong answer"} == {}


def test_nothing_is_left_behind(attacked):
    _, outside, new = attacked
    assert [path.name for path in outside.iterdir()] == ["canary"] and not new
    assert (outside / "canary").read_text() == "alive"
    assert nothing_left()


def test_attacks_would_work_without_a_sandbox():
    # Else the two tests above would test nothing; one that does no harm.
    space = {}
    exec(ATTACKS["see other processes"], space)
    assert space["f"](1) == 2


def test_honest_programs_pass(isolated):
    programs = [
        plus_one("def f(x): return x + 1"),
        plus_one("import math, re, typing, collections\nf = lambda x: x + 1"),
        plus_one("from __future__ import annotations\nfrom dataclasses import dataclass\n"
                 "@dataclass\nclass A:\n    x: int\ndef f(x): return A(x).x + 1"),
        plus_one("print('x' * 10**6)\ndef f(x): return x + 1"),
        plus_one("open('notes', 'w').write('a')\ndef f(x): return x + len(open('notes').read())"),
        plus_one("class C(int): pass\ndef f(x): return C(x + 1)"),
        plus_one("def f(x):\n    if x == 1: raise KeyError('x')\n    return x + 1",
                 "try:\n    f(1)\n    raise SystemExit\nexcept KeyError:\n    pass\nassert f(2) == 3"),
        Program("def sum(a, b): return a + b", "assert sum(1, 2) == 3\nassert max(1, 2) == 2", ("sum",)),
        Program("def f(x): return g(x)", "assert f(1) == g(1)", ("f",), "def g(x): return x + 1"),
    ]  # fmt: skip
    verdicts = run(programs)
    assert [verdict.passed for verdict in verdicts] == [True] * len(programs), verdicts
    assert nothing_left()


def test_verdicts_say_why(isolated):
    verdicts = run(
        [
            plus_one("def f(x): return x"),
            plus_one("def f(x): return y"),
            plus_one("def f(x):\n    while True: pass"),
            plus_one("import time\ndef f(x): time.sleep(9)"),
            plus_one("def f(x): return bytearray(1 << 40)"),
            plus_one("print('hello')\ndef f(x): return x"),
            plus_one("def f(x): return x + 1", tests="import sys\nsys.exit(0)"),
        ],
        **{**SHORT, "wall_s": 3},
    )
    assert [verdict.reason for verdict in verdicts[:4]] == [
        "wrong answer",
        "error",
        "time limit",
        "time limit",
    ]
    assert "NameError" in verdicts[1].detail and "MemoryError" in verdicts[4].detail
    assert verdicts[5].output == "hello\n"
    assert not verdicts[6].passed


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**70), 1.0, float("inf"), 1e-300, "é\ud800\0", b"\xff", 2 + 3j, range(1, 9, 2),
        [], [1, [2.0, ("a",)]], (), (1,), {1, 2}, frozenset({"a"}), {1: 2, "1": [3], (1, 2): None},
    ],
)  # fmt: skip
def test_values_arrive_as_they_were(value):
    import json

    arrived = decode(json.loads(json.dumps(encode(value))))
    assert arrived == value and type(arrived) is type(value)


def nested(depth):
    """A list in a list, so many times."""
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_values_are_read_up_to_what_the_docs_say():
    """docs/sandbox.md: 100,000 items of an iterator, 100 levels, 16 MiB."""
    assert [len(list(decode(encode(iter(range(n)))))) for n in (99_999, 100_001)] == [99_999, 100_000]
    assert decode(encode(nested(100))) == nested(100)
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        encode(nested(101))
    around, most = len(json.dumps({"value": ""})) + 1, 1 << 24
    with tempfile.TemporaryFile() as channel:
        send(channel.fileno(), {"value": "x" * (most - around)})
        channel.seek(0)
        assert len(receive(channel)["value"]) == most - around
        with pytest.raises(ValueError, match="more than 16777216 bytes"):
            send(channel.fileno(), {"value": "x" * (most - around + 1)})


def test_other_values_arrive_as_their_like():
    import collections
    import decimal
    import fractions

    assert decode(encode(10**5000)) == 10**5000  # more digits than Python turns into text
    assert decode(encode(collections.Counter("aab"))) == {"a": 2, "b": 1}
    assert decode(encode(decimal.Decimal("1.5"))) == 1.5 and decode(encode(fractions.Fraction(1, 3))) * 3 == 1
    assert decode(encode({1: 2}.keys())) == {1} and list(decode(encode(map(str, [1, 2])))) == ["1", "2"]
    assert list(decode(encode(collections.deque([1])))) == [1]
    thing = decode(encode(object()))
    assert thing and thing != object() and thing != 1 and "object" in repr(thing)


def test_a_killed_runner_leaves_nothing(isolated):
    script = (
        "from lift_harness.tasks.sandbox import commands as i, runner as sandbox\n"
        f"i.ENVIRONMENT[{MARK!r}] = '1'\n"
        "sandbox.isolation(); print('on', flush=True)\n"
        "sandbox.run([sandbox.Program('import time\\ntime.sleep(99)', '', ())] * 2, wall_s=2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as harness:
        harness.stdout.readline()
        deadline = time.monotonic() + 20
        while not left_over() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        harness.kill()
    deadline = time.monotonic() + 10
    while left_over() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_over() == []


def test_a_killed_sandbox_is_a_failure(isolated, monkeypatch):
    started = []
    real = subprocess.Popen

    def popen(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    killer = threading.Timer(0.6, lambda: [os.killpg(one.pid, signal.SIGKILL) for one in list(started)])
    killer.start()
    (verdict,) = run([plus_one("import time\ntime.sleep(30)")], wall_s=20)
    killer.join()
    assert not verdict.passed and verdict.seconds < 15


def test_without_isolation_it_refuses_or_warns(monkeypatch):
    monkeypatch.setattr(runner, "_isolation", None)
    monkeypatch.setattr(commands, "kinds", list)
    assert isolation() == "none"
    with pytest.raises(LiftError, match="confirm_run_unsafe_code") as error:
        run([plus_one("def f(x): return x + 1")])
    assert "\n" not in str(error.value)
    with pytest.warns(RuntimeWarning, match="without isolation"):
        verdicts = run(
            [plus_one("def f(x): return x + 1"), plus_one("import os\nos._exit(0)")], allow_unisolated=True
        )
    assert [verdict.passed for verdict in verdicts] == [True, False]
    assert nothing_left()


def test_an_isolation_that_does_not_hold_is_not_used(monkeypatch):
    # "unshare" that does nothing: started as the plain program, the trial run sees the difference.
    monkeypatch.setattr(runner, "_isolation", None)
    monkeypatch.setattr(commands, "kinds", lambda: ["none"])
    assert not runner.trial("none").passed
    assert isolation() == "none"


# Run by the Python of an environment below /tmp, with this one's packages beside its own.
BELOW_TMP = """
import json, site, sys
site.addsitedir(sys.argv[1])
from lift_harness.tasks.sandbox import Program, commands, isolation, run
solutions = [
    "import probe\\nf = probe.plus_one",
    "import probe\\ndef f(x):\\n    open(probe.__file__, 'a').close()\\n    return x + 1",
    "import os, probe\\ndef f(x):\\n    open(probe.__file__ + '.new', 'x')\\n    return x + 1",
    "import os, sys\\ndef f(x):\\n    print(sorted(os.walk('/tmp'))[:2])\\n    return x + 1",
    "def f(x):\\n    return x + len(open('/tmp/mine', 'w').name[:1])",
]
kind, packages = isolation(), commands.packages()
verdicts = run([Program(s, "assert f(1) == 2", ("f",)) for s in solutions])
print(json.dumps([kind, packages, [(v.passed, v.detail, v.output) for v in verdicts]]))
"""


def test_packages_of_an_environment_below_tmp_are_in_sight(isolated):
    """And nothing else of /tmp; where the environment of these tests lies does not matter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lift-venv-") as folder:
        venv.create(folder, symlinks=True)
        (site,) = Path(folder).glob("lib/python*/site-packages")
        (site / "probe.py").write_text("def plus_one(x): return x + 1\n")
        (Path(folder) / "secret").touch()
        (Path(folder).parent / f"{Path(folder).name}.secret").touch()
        done = subprocess.run(
            [f"{folder}/bin/python", "-c", BELOW_TMP, sysconfig.get_paths()["purelib"]],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder,  # in the checkout its lift_harness/ would hide the installed package
        )
        Path(f"{folder}.secret").unlink()
    assert done.returncode == 0, done.stderr
    kind, packages, verdicts = json.loads(done.stdout)
    assert kind != "none" and packages == [os.path.realpath(site)]
    assert [passed for passed, _, _ in verdicts] == [True, False, False, True, True], verdicts
    assert all("Read-only" in detail or "Permission denied" in detail for _, detail, _ in verdicts[1:3])
    name = Path(folder).name
    assert verdicts[3][2].strip() == f"{[('/tmp', [name], []), (folder, ['lib'], [])]}"


def test_a_sandbox_without_packages_is_said_in_one_line(isolated, monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "_isolation", None)
    monkeypatch.setattr(commands, "packages", lambda: (str(tmp_path),))
    with pytest.warns(RuntimeWarning, match="solutions that import a package will fail") as said:
        assert isolation() != "none"
    (message,) = (str(warning.message) for warning in said)
    assert (
        message.endswith(f"{tmp_path}: ModuleNotFoundError No module named 'numpy'") and "\n" not in message
    )


def test_a_home_in_tmp_is_the_private_one(isolated, monkeypatch):
    monkeypatch.setenv("HOME", "/tmp")
    assert runner.trial(isolation()).passed
