"""The process behind `bounded`: renders chat templates and tries regular expressions under limits.

Run as a script, `bounded_worker.py CPU_SECONDS MEMORY_BYTES` (`killable.serve`).
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to be taken for others of the same name
    os.environ["USE_TORCH"] = "0"  # transformers' templates need none

from transformers.utils.chat_template_utils import render_jinja_template

from lift_harness.errors import first_line
from lift_harness.killable import serve

# Around a pattern of an adapter's configuration, as peft 0.21 puts them: of target_modules and
# exclude_modules, of rank and alpha patterns, of modules_to_save, of layers_pattern.
FORMS = (r"{}\Z", r"(.*\.)?({})$", r"(^|.*\.){}($|\..*)", r"(?:^|.*?\.){}\.(?P<idx>\d+)\.")


def render(question: dict[str, Any]) -> list[str]:
    """The texts of some chats."""
    texts, _ = render_jinja_template(
        question["chats"], chat_template=question["template"], **question["how"], **question["tokens"]
    )
    if max(map(len, texts)) > question["longest"]:
        raise ValueError(f"it writes more than {question['longest']:,} characters")
    return texts


def match(question: dict[str, Any]) -> bool:
    """Try each pattern on each name."""
    for pattern in question["patterns"]:
        re.compile(pattern)
        for form in FORMS:
            compiled = re.compile(form.format(pattern))
            for name in question["names"]:
                compiled.match(name)
    return True


def reply(question: dict[str, Any]) -> dict[str, Any]:
    """The value, or why there is none."""
    try:
        if question["do"] == "render":
            return {"value": render(question)}
        return {"value": match(question)}
    except MemoryError:
        return {"error": "takes more memory than it may"}
    except re.error as error:
        return {"error": f"fails: {error.pattern!r:.60} is no regular expression ({error})"}
    except Exception as error:  # jinja's, or whatever a template's own code raises
        return {"error": f"does not render: {first_line(error)}"}


if __name__ == "__main__":
    serve(reply, float(sys.argv[1]), int(sys.argv[2]))
