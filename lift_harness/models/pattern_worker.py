"""The process behind `bounded.check_patterns`: tries regular expressions under limits of time and memory.

Run as a script, `pattern_worker.py CPU_SECONDS MEMORY_BYTES` (`killable.serve`).
"""

from __future__ import annotations

import re
import sys
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to be taken for others of the same name

from lift_harness.killable import serve

# Around a pattern of an adapter's configuration, as peft 0.21 puts them: of target_modules and
# exclude_modules, of rank and alpha patterns, of modules_to_save, of layers_pattern.
FORMS = (r"{}\Z", r"(.*\.)?({})$", r"(^|.*\.){}($|\..*)", r"(?:^|.*?\.){}\.(?P<idx>\d+)\.")


def match(question: dict[str, Any]) -> dict[str, Any]:
    """Try each pattern on each name; no value, but an error where one is no pattern."""
    for pattern in question["patterns"]:
        try:
            re.compile(pattern)
            forms = [re.compile(form.format(pattern)) for form in FORMS]
        except (re.error, RecursionError, OverflowError, MemoryError) as error:
            return {"error": f"fails: {pattern!r:.60} is no regular expression ({error})"}
        for form in forms:
            for name in question["names"]:
                form.match(name)
    return {"value": None}


if __name__ == "__main__":
    serve(match, float(sys.argv[1]), int(sys.argv[2]))
