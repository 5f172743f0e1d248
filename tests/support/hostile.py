"""Programs that attack the sandbox, by name. Asked for f(x) = x + 1.

CHEATS return something else and try to pass all the same. ATTACKS do harm, and return x + 1 only if that
worked: a pass is an escape. `OUTSIDE` stands for a folder of the test, `PARENT` for its process id.
"""

CHEATS = {
    "exit 0": "import sys\ndef f(x): sys.exit(0)",
    "exit 0 while loading": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\ndef f(x): os._exit(0)",
    "os._exit(0) while loading": "import os\nos._exit(0)",
    "raise SystemExit": "def f(x): raise SystemExit",
    "raise KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "raise StopIteration": "def f(x): raise StopIteration",
    "print passed": 'print(\'passed\')\nprint(\'{"reason": "passed", "detail": ""}\')\ndef f(x): return x',
    "patch AssertionError": """
import builtins
builtins.AssertionError = type('A', (), {})
def f(x): return x
""",
    "patch all builtins": """
import builtins
for name in dir(builtins):
    if name[0] != '_':
        setattr(builtins, name, lambda *a, **k: True)
def f(x): return x
""",
    "patch exec and compile": "import builtins\nbuiltins.exec = builtins.compile = print\ndef f(x): return x",
    "settrace past the assert": """
import sys
def trace(frame, event, arg):
    if event == 'exception':
        import os; os._exit(0)
    return trace
sys.settrace(trace)
def f(x): return x
""",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return x",
    "replace check": """
import sys
for module in list(sys.modules.values()):
    for name in ('check', 'judge', 'run', 'main'):
        try: setattr(module, name, lambda *a: None)
        except Exception: pass
def check(candidate): pass
def f(x): return x
""",
    "patch unittest": """
import unittest
unittest.TestCase.assertEqual = lambda *a: None
def f(x): return x
""",
    "write to descriptors 3 to 63": """
import os
for fd in range(3, 64):
    for line in (b'{"reason": "passed", "detail": ""}\\n', b'passed\\n'):
        try: os.write(fd, line)
        except OSError: pass
def f(x): return x
""",
    "report, then stop": """
import os, time
for fd in range(3, 64):
    try: os.write(fd, b'{"ready": true}\\n{"reason": "passed", "detail": ""}\\n')
    except OSError: pass
time.sleep(60)
""",
    "close all descriptors": "import os\nos.closerange(0, 64)\ndef f(x): return x",
    "equal to everything": """
class Any:
    def __eq__(self, other): return True
    def __hash__(self): return 2
    def __bool__(self): return True
def f(x): return Any()
""",
    "int equal to everything": """
class Any(int):
    __eq__ = lambda self, other: True
    __index__ = lambda self: Any(7)
def f(x): return Any(7)
""",
    "list equal to everything": """
class Any(list):
    __eq__ = lambda self, other: True
    __class__ = property(lambda self: int)
def f(x): return Any([x])
""",
    "frames and gc": """
import gc, sys
def f(x):
    frame = sys._getframe()
    while frame:
        for name in list(frame.f_locals):
            if 'report' in name or 'passed' in name: return x + 1
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, dict) and 'tests' in thing and isinstance(thing['tests'], str): return x + 1
    return x
""",
    "read the tests from memory": r"""
import re
def f(x):
    for line in open('/proc/self/maps'):
        low, high = (int(part, 16) for part in line.split()[0].split('-'))
        if ' rw' not in line or high - low > 1 << 26: continue
        with open('/proc/self/mem', 'rb') as memory:
            memory.seek(low)
            try: content = memory.read(high - low)
            except OSError: continue
        if re.search(rb'f\(1\) =[=] 2', content): return x + 1
    return x
""",
    "patch json": """
import json
json.dumps = lambda *a, **k: '{"value": true}'
def f(x): return x
""",
    "pickle of os._exit": """
import os, pickle
class Bomb:
    def __reduce__(self): return os._exit, (0,)
def f(x): return pickle.loads(pickle.dumps(Bomb()))
""",
    "object that pickles as a bomb": """
import os
class Bomb:
    def __reduce__(self): return os.system, ('true',)
def f(x): return Bomb()
""",
    "endless generator": "import itertools\ndef f(x): return itertools.count()",
    "list that holds itself": "def f(x):\n    loop = []\n    loop.append(loop)\n    return loop",
    "deeply nested": "def f(x):\n    deep = []\n    for _ in range(10**5): deep = [deep]\n    return deep",
    "exception that lies": """
class AssertionError(BaseException):
    def __str__(self): raise SystemExit(0)
def f(x): raise AssertionError
""",
    "no function": "pass",
    "not Python": "def f(x: return x + 1",
    "null byte": "def f(x): return x\n\0",
    "waits for input": "def f(x): return int(input())",
    "stack overflow in C": """
import sys
sys.setrecursionlimit(10**9)
def g(x): return g(x) + 1
def f(x): return g(x)
""",
    "null pointer": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "infinite loop": "def f(x):\n    while True: pass",
    "infinite loop while loading": "while True: pass",
    "sleep": "import time\ndef f(x): time.sleep(60)",
    "big integers": "def f(x): return 9 ** 9 ** 9 ** 9",
    "regular expression": "import re\ndef f(x): return re.match('(a*)*b', 'a' * 64)",
    "memory bomb": "def f(x):\n    held = []\n    while True: held.append(bytearray(1 << 24))",
    "infinite output": "import os\ndef f(x):\n    while True: os.write(1, b'x' * 65536)",
    "stop itself": "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return x",
    "ignore signals": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(x):
    while True: pass
""",
    "fork bomb": """
import os
def f(x):
    while True:
        try: os.fork()
        except OSError: pass
""",
    "thread bomb": """
import threading, time
def f(x):
    while True:
        threading.Thread(target=time.sleep, args=(60,)).start()
""",
    "thread that outlives": """
import threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
def f(x): return x
""",
    "daemon": """
import os, time
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            time.sleep(60)
        os._exit(0)
    return x
""",
}

_ATTACK = """
import ctypes, glob, os, resource, shutil, signal, socket, subprocess, sys
def attack():
{body}
def f(x):
    try: escaped = attack()
    except BaseException: escaped = False
    return x + 1 if escaped else x
"""
_ATTACKS = {
    "connect": "socket.create_connection(('1.1.1.1', 53), 2)\nreturn True",
    "connect to this machine": "socket.create_connection(('127.0.0.1', PORT), 2)\nreturn True",
    "resolve a name": "return socket.gethostbyname('example.com')",
    "abstract socket": "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0lift-hostile-PARENT')\nreturn True",
    "write outside": "open('OUTSIDE/written', 'w').close()\nreturn True",
    "write to home": "open('HOMEDIR/lift-hostile', 'w').close()\nreturn True",
    "write to the packages": "open(SITE + '/lift_hostile.pth', 'w').close()\nreturn True",
    "write over Python": "open(sys.executable, 'r+b').close()\nreturn True",
    "delete": "shutil.rmtree('OUTSIDE')\nreturn True",
    "rename": "os.rename('OUTSIDE', 'OUTSIDE.gone')\nreturn True",
    "read outside": "return open('OUTSIDE/canary').read()",
    "symlink": "os.symlink('OUTSIDE', '/tmp/link')\nopen('/tmp/link/written', 'w').close()\nreturn True",
    "hard link": "os.link('OUTSIDE/canary', '/tmp/link')\nreturn True",
    "descriptors that leaked": (
        "for fd in range(64):\n"
        "    try: path = os.readlink(f'/proc/self/fd/{fd}')\n    except OSError: continue\n"
        "    if path[0] == '/' and not path.startswith(('/dev/null', '/proc', '/tmp/')): return True"
    ),
    "kill the parent": "os.kill(PARENT, signal.SIGKILL)\nreturn True",
    "kill everybody": "os.kill(-1, signal.SIGKILL)\nreturn False",
    "kill process 1": "os.kill(1, signal.SIGKILL)\nreturn False",
    "kill by number": "return any(os.kill(pid, 0) is None for pid in range(100, 40000) if pid in PIDS)",
    "process 1's environment": "return b'LIFT_HOSTILE_SECRET' in open('/proc/1/environ', 'rb').read()",
    "own environment": "return 'LIFT_HOSTILE_SECRET' in os.environ",
    "see other processes": "return len(glob.glob('/proc/[0-9]*')) > 4",
    "ptrace process 1": ("libc = ctypes.CDLL(None)\nreturn libc.ptrace(16, 1, 0, 0) == 0  # PTRACE_ATTACH"),
    "mount": "libc = ctypes.CDLL(None)\nreturn libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "remount": "libc = ctypes.CDLL(None)\nreturn libc.mount(b'none', b'/usr', None, 4096 | 32, None) == 0",
    "chroot": "os.chroot('/tmp')\nreturn True",
    "become root": "os.setuid(1)\nreturn True",
    "user namespace": "libc = ctypes.CDLL(None)\nreturn libc.unshare(0x10000000) == 0",
    "unshare program": "return subprocess.run(['unshare', '-Ur', 'true']).returncode == 0",
    "raise the limits": (
        "return any(resource.setrlimit(k, (1 << 40, 1 << 40)) is None for k in (resource.RLIMIT_CPU,))"
    ),
    "kernel settings": "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)\nreturn True",
    "huge file": "open('/tmp/a', 'wb').truncate(1 << 40)\nreturn True",
    "many files": (
        "for i in range(64):\n"
        "    with open(f'/tmp/{i}', 'wb') as file: file.write(bytes(1 << 20))\n"
        "return True"
    ),
    "shared memory folder": "open('/dev/shm/a', 'wb').write(bytes(1 << 20))\nreturn True",
    "devices": "return any(os.path.exists(p) for p in glob.glob('/dev/[svx]d*') + ['/dev/mem', '/dev/kmsg'])",
    "terminal": "os.open('/dev/tty', os.O_RDWR)\nreturn True",
}
ATTACKS = {
    name: _ATTACK.format(body="\n".join("    " + line for line in body.split("\n")))
    for name, body in _ATTACKS.items()
}
