"""Work in a process that may be killed at any moment, without starting Python and its imports again."""

import os
import socket
import threading
import traceback
from functools import partial

from accelerate.state import AcceleratorState, GradientState, PartialState
from tqdm import tqdm


def fork(work) -> int:
    """The pid of a process that does `work()` and exits with what it returns; 1 if that raises."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        # tqdm's own lock is one for all processes: killed while it holds it, one would stop the others.
        tqdm.set_lock(threading.RLock())
        code = int(work())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def fork_ranks(work, n=2) -> list[int]:
    """The pids of n processes that do `work(rank)` as one launch (gloo, on the CPU) does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def join(rank):
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()  # the parent's, who was alone
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return work(rank)

    return [fork(partial(join, rank)) for rank in range(n)]


def outcome(pid: int) -> int:
    """The exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
