"""The start-up hook: wait for lm-eval to be imported, then call `lift_harness.plugin.hooks`.

The installed `.pth` runs `install()` in every Python process, most of which never import lm-eval.
So this module imports nothing but what the interpreter has loaded anyway, and all it leaves behind is
one finder that compares each imported name with a few strings. Nothing here may raise.
"""

import sys
from _thread import get_ident

TYPE_CHECKING = False  # as in `typing`, which is not worth its import time here
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# The lm-eval modules that `hooks.HOOKS` completes once they have run.
WATCHED = (
    "lm_eval._cli.harness",
    "lm_eval.api.metrics",
    "lm_eval.api.model",
    "lm_eval.config.evaluate_config",
    "lm_eval.evaluator",
    "lm_eval.evaluator_utils",
    "lm_eval.filters",
    "lm_eval.models",
    "lm_eval.tasks.manager",
)

_searching: set[tuple[int, str]] = set()  # (thread, module) pairs inside `Finder.find_spec`
_warned: set[str] = set()  # modules whose hook has failed


class Finder:
    """A meta-path finder that finds nothing itself: it lets the others find, and notes the loading."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """The spec that the other finders give, its loader told to call the hook afterwards."""
        if name not in WATCHED:
            return None
        key = (get_ident(), name)
        if key in _searching:  # another finder of this kind asked back
            return None
        _searching.add(key)
        try:
            spec = _find_elsewhere(name, path, target)
            if spec is not None:
                _call_hook_after_exec(spec)
            return spec
        except Exception:
            return None  # the normal search comes next, and raises what there is to raise
        finally:
            _searching.discard(key)


def install() -> None:
    """Watch for lm-eval; complete at once what is imported already. Harmless to call again."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    for name in WATCHED:
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            run_hook(module)


def run_hook(module: "ModuleType") -> None:
    """Call the hook for an lm-eval module. A failure is one warning: lm-eval must still work."""
    name = module.__name__
    try:
        from lift_harness.plugin import hooks

        hooks.HOOKS[name](module)
    except Exception as error:
        if name not in _warned:
            _warned.add(name)
            _warn(f"lift-harness could not extend {name} ({type(error).__name__}: {error})")


def _find_elsewhere(name: str, path: object, target: object) -> "ModuleSpec | None":
    """Ask every other finder, as the import system does."""
    for finder in list(sys.meta_path):
        find_spec = getattr(finder, "find_spec", None)
        if finder is Finder or find_spec is None:
            continue
        spec = find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


def _call_hook_after_exec(spec: "ModuleSpec") -> None:
    """Shadow `exec_module` on this one loader object.

    The loader keeps its type, so resources, source and pickling work as before; `_ExecThenHook` takes
    the shadow away again when it is called.
    """
    loader = spec.loader
    if hasattr(loader, "exec_module") and not isinstance(loader, type):
        loader.exec_module = _ExecThenHook(loader)  # type: ignore


class _ExecThenHook:
    """What stands in for a loader's `exec_module`; a class, so that an unused spec can be pickled."""

    def __init__(self, loader: object) -> None:
        self.loader = loader

    def __call__(self, module: "ModuleType") -> None:
        vars(self.loader).pop("exec_module", None)
        self.loader.exec_module(module)  # type: ignore
        run_hook(module)


def _warn(message: str) -> None:
    """One warning line; `-W error` must not turn it into a failed import."""
    import warnings

    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except Warning:
        sys.stderr.write(message + "\n")
