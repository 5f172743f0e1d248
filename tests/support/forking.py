"""Work in a process that may be killed at any moment, without starting Python and its imports again."""

import os
import threading
import traceback

from tqdm import tqdm


def fork(work) -> int:
    """The pid of a process that does `work()` and exits with what it returns; 1 if that raises."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        # tqdm's own lock is one for all processes: killed while it holds it, one would stop the others.
        tqdm.set_lock(threading.RLock())
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def outcome(pid: int) -> int:
    """The exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
