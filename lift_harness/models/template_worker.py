"""The process behind `bounded.render`: renders chat templates under limits of time and memory.

Run as a script, `template_worker.py CPU_SECONDS MEMORY_BYTES` (`killable.serve`).
"""

from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to be taken for others of the same name
    os.environ["USE_TORCH"] = "0"  # transformers' templates need none

from transformers.utils.chat_template_utils import render_jinja_template

from lift_harness.errors import first_line
from lift_harness.killable import serve


def render(question: dict[str, Any]) -> dict[str, Any]:
    """The texts of some chats, or why there are none."""
    try:
        texts, _ = render_jinja_template(
            question["chats"], chat_template=question["template"], **question["how"], **question["tokens"]
        )
    except MemoryError:
        return {"error": "takes more memory than it may"}
    except Exception as error:  # jinja's, or whatever a template's own code raises
        return {"error": f"does not render: {first_line(error)}"}
    if max(map(len, texts)) > question["longest"]:
        return {"error": f"writes more than {question['longest']:,} characters"}
    return {"value": texts}


if __name__ == "__main__":
    serve(render, float(sys.argv[1]), int(sys.argv[2]))
