"""Closes the sandbox from the inside, then starts what runs in it: a script for `python -c`, not a module.

Runs before any untrusted code, in the process that `isolation` started: in new namespaces, but with
the host's files still in sight and the privileges to hide them. Reads a job (JSON) from standard input.
Only the standard library, and little of it: two of these start for every program.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import platform
import resource
import signal
import sys
from types import ModuleType
from typing import Any

NOBODY = 65534
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MNT_DETACH = 2
CLONE_NEWUSER = 0x10000000
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = (
    4,
    24,
    38,
    47,
    4,
)
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000  # one number on all architectures, Linux 5.12
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}  # not in glibc
CAPABILITY_VERSION_3 = 0x20080522
DEVICES = ("null", "zero", "full", "random", "urandom")
# What no honest solution calls, and namespaces alone leave open; sockets: only unix and internet ones
# (a virtual machine's vsock, 40, belongs to no network namespace).
DENIED = [
    "ptrace", "process_vm_readv", "process_vm_writev", "mount", "umount2", "pivot_root", "chroot",
    "unshare", "setns", "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd",
    "io_uring_setup", "memfd_create", "shmget", "msgget", "semget", "open_by_handle_at", "init_module",
    "finit_module", "kexec_load", "reboot", "swapon", "quotactl", "syslog", "acct", "fsopen", "fsmount",
    "move_mount", "open_tree",
]  # fmt: skip
DENIED_SOCKETS = (17, 38, 40, 44)  # packet, alg, vsock, xdp

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raise the error that a call into the C library left."""
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount a file system, or bind a path."""
    args = source.encode(), target.encode(), kind.encode() if kind else None
    checked(libc.mount(*args, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def bind(path: str) -> None:
    """Show `path` of the old root (at /old) under its own name; a link stays a link."""
    source = "/old" + path
    if os.path.islink(source):
        os.symlink(os.readlink(source), path)
    elif os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
        mount(source, path, None, MS_BIND | MS_REC)
    elif os.path.exists(source):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").close()
        mount(source, path, None, MS_BIND)


def all_read_only(paths: list[str]) -> None:
    """No mount of this namespace can be written to; kernels before 5.12 are told one by one."""
    attributes = (ctypes.c_uint64 * 4)(MS_RDONLY | MS_NOSUID, 0, 0, 0)
    size = ctypes.c_size_t(32)
    if libc.syscall(MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), size) == 0:
        return
    for path in [*paths, "/"]:
        if os.path.ismount(path):
            kept = os.statvfs(path).f_flag & (MS_NODEV | MS_NOEXEC | MS_NOSUID)
            mount("none", path, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | kept)


def new_root(read_only: list[str], scratch_bytes: int) -> None:
    """Another file system: `read_only` of the old one, a few devices, /proc, and /tmp of a bounded size."""
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    checked(libc.syscall(PIVOT_ROOT[platform.machine()], b"/tmp", b"/tmp/old"), "pivot_root")
    os.chdir("/")
    os.mkdir("/proc")
    os.mkdir("/tmp")
    # Before what is shown, not over it: an environment may lie below /tmp.
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={scratch_bytes},nr_inodes=4096,mode=1777")
    for path in read_only + [f"/dev/{device}" for device in DEVICES]:
        bind(path)
    checked(libc.umount2(b"/old", MNT_DETACH), "umount2")
    os.rmdir("/old")
    all_read_only(read_only)
    mount("none", "/tmp", None, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV)  # and this one not
    with contextlib.suppress(OSError):  # a container that masks parts of its own /proc; nothing needs it
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.chdir("/tmp")


def write(path: str, text: str) -> None:
    """Write to a file of /proc, where that is possible."""
    with contextlib.suppress(OSError), open(path, "w") as file:
        file.write(text)


def become_nobody() -> None:
    """From the real root to a user of a namespace of its own: root is exempt from the limit on processes."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is root's, and the maps cannot be written
    if libc.unshare(CLONE_NEWUSER) == 0:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{NOBODY} {NOBODY} 1")
        write("/proc/self/gid_map", f"{NOBODY} {NOBODY} 1")


def drop_privileges() -> None:
    """No capability, now or after an exec, and no way to more of them."""
    write("/proc/sys/user/max_user_namespaces", "0")  # of this namespace and those below
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    checked(libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def set_limits(limits: dict[str, int]) -> None:
    """The limits the kernel keeps for each process, {"CPU": seconds, "AS": bytes, ...}; never raised."""
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        soft, hard = resource.getrlimit(which)[1], value + (1 if name == "CPU" else 0)
        if soft != resource.RLIM_INFINITY:
            hard = min(hard, soft)
        resource.setrlimit(which, (min(value, hard), hard))


def seccomp_library(binding: dict[str, str] | None) -> ModuleType | None:
    """The library, loaded while the host's files are in sight."""
    if not binding:
        return None
    sys.path.insert(0, binding["path"])
    try:
        return importlib.import_module(binding["module"])
    except (ImportError, OSError, RuntimeError):  # the Python half without the C half
        return None
    finally:
        sys.path.remove(binding["path"])


def filter_calls(library: Any) -> None:
    """Refuse the system calls of `DENIED` from here on."""
    calls = library.SyscallFilter(library.ALLOW)
    refused: list[tuple[Any, ...]] = [(name,) for name in DENIED]
    refused += [("socket", library.Arg(0, library.EQ, family)) for family in DENIED_SOCKETS]
    for rule in refused:
        try:
            calls.add_rule(library.ERRNO(1), *rule)
        except (ValueError, RuntimeError, OSError):  # this architecture has no such call
            continue
    calls.load()


def reap(child: int, seconds: int) -> None:
    """As process 1: outlive `child` and nothing else, and not even it for longer than `seconds`.

    The time limit is the harness's; this one is for when the harness has been killed.
    """
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody attaches to it
    os.closerange(0, 1024)  # the pipes must close with the child
    signal.signal(signal.SIGALRM, lambda *_: os._exit(124))
    signal.alarm(seconds)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def main() -> None:
    """Close the sandbox, then run the guest."""
    with os.fdopen(0, "rb", closefd=False) as stdin:
        job = json.loads(stdin.read())
    sys.path[:] = [path for path in sys.path if path]
    library = seccomp_library(job["seccomp"])
    mode = job["mode"]
    if mode == "unshare":
        new_root(job["read_only"], job["scratch_bytes"])
        write("/proc/sys/kernel/shmall", "0")  # shared memory is not counted by the limit on memory
        if os.getuid() == 0 and job["real_root"]:
            become_nobody()
    nothing = os.open("/dev/null", os.O_RDONLY)  # in place of the job; the old root's would name its mount
    os.dup2(nothing, 0)
    os.close(nothing)
    if mode != "none":
        drop_privileges()
    child = os.fork()
    if child:
        reap(child, job["seconds"])
    set_limits(job["limits"])
    if library is not None and mode != "none":
        filter_calls(library)
    sys.path += job["packages"]
    guest: dict[str, Any] = {"__name__": "sandbox_guest"}
    exec(compile(job["guest"], "<sandbox>", "exec", dont_inherit=True), guest)
    guest["main"](job["task"])
    os._exit(0)


if __name__ == "__main__":
    main()
