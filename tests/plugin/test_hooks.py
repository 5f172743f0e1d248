"""The start-up hook and what it adds to lm-eval, in fresh interpreters and on stand-in modules."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import lift_harness
from lift_harness.plugin import hooks, startup


def python(code: str, *options: str, **environ: str) -> str:
    """What a fresh interpreter prints; LIFT_HARNESS_NO_PLUGIN only when given."""
    env = {name: value for name, value in os.environ.items() if name != "LIFT_HARNESS_NO_PLUGIN"}
    env |= {"HF_HUB_OFFLINE": "1", **environ}
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- start-up


def loaded_modules(**environ: str) -> set[str]:
    return set(json.loads(python("import sys, json; print(json.dumps(list(sys.modules)))", **environ)))


def test_a_bare_interpreter_imports_three_tiny_modules_and_nothing_else_of_ours():
    # json, for the output, would add modules of its own: an interpreter without us has those too
    added = loaded_modules() - loaded_modules(LIFT_HARNESS_NO_PLUGIN="1")
    assert added == {"lift_harness", "lift_harness.plugin", "lift_harness.plugin.startup"}


def test_the_startup_modules_read_no_metadata_and_no_heavy_package():
    # `-S` leaves out `site`, and with it setuptools' editable finder, which has imports of its own
    code = f"""
        import sys, types
        package = types.ModuleType("lift_harness")
        package.__path__ = [{str(Path(lift_harness.__file__).parent)!r}]
        sys.modules["lift_harness"] = package
        before = set(sys.modules)
        import lift_harness.plugin.startup
        lift_harness.plugin.startup.install()
        print(sorted(set(sys.modules) - before))
        """
    assert python(code, "-S", "-I").strip() == "['lift_harness.plugin', 'lift_harness.plugin.startup']"


def test_the_startup_line_is_silent_when_the_package_is_gone(tmp_path):
    (pth,) = (
        Path(folder, "lift_harness_startup.pth")
        for folder in sys.path
        if Path(folder, "lift_harness_startup.pth").is_file()
    )
    text = pth.read_text()
    assert text.count("\n") == 1 and text.endswith("\n")
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", text], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_switch_turns_it_off_and_install_turns_it_on():
    code = """
        from lift_harness.plugin import startup
        import sys, lm_eval.models
        from lm_eval.api.registry import model_registry
        print(startup.Finder in sys.meta_path, "lift_dlm" in model_registry)
        startup.install()
        print(startup.Finder in sys.meta_path, "lift_dlm" in model_registry)
        """
    assert python(code, LIFT_HARNESS_NO_PLUGIN="1").split("\n")[:2] == ["False False", "True True"]


# ---------------------------------------------------------------- with the real lm-eval


def test_lm_eval_knows_the_model_and_keeps_its_own():
    code = """
        from lm_eval.api.registry import get_model, model_registry
        print(len(model_registry))  # still lm-eval's cue to import its own models
        print(get_model("dummy").__name__)
        print("lift_dlm" in model_registry, "hf" in model_registry)
        """
    assert python(code).split("\n")[:3] == ["0", "DummyLM", "True True"]


def test_imported_modules_keep_their_loader():
    code = """
        import importlib.resources, importlib.util, inspect, pickle, sys
        unused = importlib.util.find_spec("lm_eval.tasks.manager")
        pickle.dumps(unused.loader)
        import lm_eval.tasks.manager as manager
        loader = manager.__spec__.loader
        print(type(loader).__name__, loader is manager.__loader__, "exec_module" in vars(loader))
        print("class TaskManager" in inspect.getsource(manager))
        print(importlib.resources.files("lm_eval.tasks").joinpath("README.md").is_file())
        print(inspect.signature(manager.TaskManager))
        print(pickle.loads(pickle.dumps(manager.TaskManager)) is manager.TaskManager)
        """
    kind, source, resource, signature, pickles = python(code).split("\n")[:5]
    assert kind == "SourceFileLoader True False"
    assert (source, resource, pickles) == ("True", "True", "True")
    assert "include_path" in signature and "include_defaults" in signature


def test_a_failing_hook_is_one_warning_and_lm_eval_works():
    code = """
        import warnings
        from lift_harness.plugin import hooks
        def broken(module):
            raise LookupError("on purpose")
        hooks.HOOKS["lm_eval.models"] = broken
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import importlib, lm_eval.models
            importlib.reload(lm_eval.models)
        print([str(w.message) for w in caught if "lift-harness" in str(w.message)])
        from lm_eval.api.registry import get_model
        print(get_model("dummy").__name__)
        """
    expected = "['lift-harness could not extend lm_eval.models (LookupError: on purpose)']"
    assert python(code).split("\n")[:2] == [expected, "DummyLM"]


@pytest.fixture(scope="module")
def manager():
    """The real module, with the hook in any case."""
    module = pytest.importorskip("lm_eval.tasks.manager")
    startup.install()
    return module


def write_task(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(f"task: {name}\ndataset_path: none\noutput_type: generate_until\n")
    return path


@pytest.fixture
def our_tasks(tmp_path, monkeypatch):
    """A stand-in for the project's task folder, with one task."""
    folder = tmp_path / "ours"
    write_task(folder, "lift_a_task")
    monkeypatch.setattr(hooks, "task_folder", lambda: folder)
    return folder


def test_the_task_folder_is_the_installed_package_and_finding_it_imports_nothing():
    code = """
        import sys
        from lift_harness.plugin.hooks import task_folder
        print(task_folder())
        print([name for name in sys.modules if name.startswith(("lift_harness.tasks", "lm_eval"))])
        """
    folder, modules = python(code).split("\n")[:2]
    assert Path(folder, "__init__.py").is_file() and modules == "[]"


def test_task_managers_index_our_tasks(manager, our_tasks):
    tasks = manager.TaskManager(include_defaults=False)
    assert tasks.all_tasks == ["lift_a_task"]
    assert tasks.task_index["lift_a_task"].yaml_path == our_tasks / "lift_a_task.yaml"
    assert tasks.include_path is None


@pytest.mark.parametrize("wrap", [str, Path, lambda path: [path], lambda path: (str(path),)])
def test_the_users_include_path_wins_over_ours(manager, our_tasks, tmp_path, wrap):
    theirs = write_task(tmp_path / "theirs", "lift_a_task")
    tasks = manager.TaskManager(None, wrap(theirs.parent), include_defaults=False)
    assert tasks.task_index["lift_a_task"].yaml_path == theirs
    assert tasks.include_path == wrap(theirs.parent)


def test_our_folder_in_the_users_include_path_is_indexed_once(manager, our_tasks, caplog):
    tasks = manager.TaskManager(include_path=our_tasks, include_defaults=False)
    assert tasks.all_tasks == ["lift_a_task"]
    assert "overrides" not in caplog.text


def test_wrong_arguments_give_lm_evals_error(manager):
    with pytest.raises(TypeError, match="no_such_argument"):
        manager.TaskManager(no_such_argument=1)


def test_an_evaluation_uses_both_call_backs():
    """The real `simple_evaluate`: a task that is bound, an aggregation with its own standard error."""
    code = """
        import lm_eval
        from datasets import Dataset
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.models.dummy import DummyLM
        from lm_eval.tasks import TaskManager

        def total(values):
            return sum(values)
        total.stderr = lambda values: 42.0

        class Bound(ConfigurableTask):
            def bind(self, lm, confirm_run_unsafe_code):
                built = hasattr(self, "_instances")  # a request
                print("bound", lm is model, confirm_run_unsafe_code, built)

        config = {
            "task": "bound",
            "custom_dataset": lambda **kwargs: {"test": Dataset.from_list([{"q": "a"}, {"q": "b"}])},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{q}}",
            "doc_to_target": "{{q}}",
            "process_results": lambda doc, results: {"m": 1.0},
            "metric_list": [{"metric": "m", "aggregation": total, "higher_is_better": True}],
            "generation_kwargs": {"until": []},
        }
        model = DummyLM()
        manager = TaskManager(include_defaults=False)  # indexing lm-eval's own takes long
        for iters in (10, 0):
            found = lm_eval.simple_evaluate(
                model,
                tasks=[Bound(config=config)],
                bootstrap_iters=iters,
                task_manager=manager,
                confirm_run_unsafe_code=iters == 0,
            )
            metrics = found["results"]["bound"]
            print(metrics["m,none"], metrics["m_stderr,none"])
        """
    said = ["bound True False False", "2.0 42.0", "bound True True False", "2.0 N/A"]
    assert python(code).split("\n")[:4] == said


# ---------------------------------------------------------------- one hook at a time


class BoundTask:
    def __init__(self):
        self.models = []

    def bind(self, lm, confirm_run_unsafe_code):
        self.models.append(lm)


class Group:
    def __init__(self, *tasks):
        self.tasks = tasks

    def get_all_tasks(self):
        return self.tasks


def fake_evaluator():
    def evaluate(lm, task_dict, limit=None):
        return "results", limit

    return types.SimpleNamespace(evaluate=evaluate)


def test_bind_reaches_tasks_in_every_form_of_task_dict():
    evaluator = fake_evaluator()
    hooks.bind_tasks(evaluator)
    hooks.bind_tasks(evaluator)  # once is enough
    bound, plain = BoundTask(), object()
    forms = [
        {"tasks": {"a": bound, "b": plain}, "groups": {}, "group_map": {}},
        {"a": bound, "b": plain},
        {Group(): {"a": bound}, "b": plain},
        {Group(): {Group(): {"a": bound}}},
        {Group(): Group(bound, plain)},
        {"tasks": {}},
    ]
    for form in forms:
        assert evaluator.evaluate("model", form, limit=3) == ("results", 3)
    assert evaluator.evaluate(task_dict={"a": bound}, lm="another") == ("results", None)
    assert bound.models == ["model"] * 5 + ["another"]


def test_bind_sees_the_model_inside_the_cache_wrapper(tmp_path):
    pytest.importorskip("sqlitedict")
    from lm_eval.api.model import CachingLM
    from lm_eval.models.dummy import DummyLM

    evaluator, bound, model = fake_evaluator(), BoundTask(), DummyLM()
    hooks.bind_tasks(evaluator)
    evaluator.evaluate(CachingLM(model, str(tmp_path / "cache.db")), {"a": bound})
    assert bound.models == [model]


def test_an_error_in_bind_is_the_tasks_own_verdict():
    class Refuses:
        def bind(self, lm, confirm_run_unsafe_code):
            raise ValueError("64 samples at temperature 0")

    evaluator = fake_evaluator()
    hooks.bind_tasks(evaluator)
    with pytest.raises(ValueError, match="64 samples"):
        evaluator.evaluate("model", {"a": Refuses()})


def test_only_an_aggregation_with_stderr_replaces_lm_evals():
    def with_stderr(values):
        return max(values)

    with_stderr.stderr = lambda values: 0.5
    module = types.SimpleNamespace(
        stderr_for_metric=lambda metric, bootstrap_iters: ("lm-eval", bootstrap_iters)
    )
    hooks.use_own_stderr(module)
    hooks.use_own_stderr(module)
    assert module.stderr_for_metric(metric=with_stderr, bootstrap_iters=7)([1.0]) == 0.5
    assert module.stderr_for_metric(with_stderr, 0) == ("lm-eval", 0)
    assert module.stderr_for_metric(metric=max, bootstrap_iters=7) == ("lm-eval", 7)


def test_entry_points_step_aside_for_taken_names_and_for_lm_evals_own_discovery(monkeypatch):
    from importlib.metadata import EntryPoint

    from lm_eval.api import registry

    def points(group):
        return [
            EntryPoint("taken", "elsewhere:Thing", group),
            EntryPoint("new", "somewhere:Thing", group),
            EntryPoint("with_extra", "somewhere:Thing [gpu]", group),
            EntryPoint("nested", "somewhere:Thing.inner", group),
        ]

    monkeypatch.setattr(hooks, "entry_points", points)
    components = registry.Registry("filter")
    components.register("taken", target="lm_eval:Own")
    monkeypatch.setattr(registry, "filter_registry", components)

    monkeypatch.setattr(registry, "load_plugins", lambda *args: [], raising=False)
    hooks.register_filters(types.ModuleType("lm_eval.filters"))
    assert list(components) == ["taken"]

    monkeypatch.delattr(registry, "load_plugins")
    for _ in range(2):
        hooks.register_filters(types.ModuleType("lm_eval.filters"))
    nested = components._objs.pop("nested")
    assert isinstance(nested, EntryPoint) and nested.attr == "Thing.inner"
    assert components._objs == {
        "taken": "lm_eval:Own",
        "new": "somewhere:Thing",
        "with_extra": "somewhere:Thing",
    }


# ---------------------------------------------------------------- the finder


def test_every_watched_module_has_a_hook():
    assert set(startup.WATCHED) == set(hooks.HOOKS)


def test_the_finder_gets_along_with_another_of_its_kind(monkeypatch):
    """Each asks the others; neither may ask for ever."""

    class Other:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return startup.Finder.find_spec(name, path, target)

    monkeypatch.setattr(sys, "meta_path", [Other, startup.Finder, *sys.meta_path])
    import lm_eval

    spec = startup.Finder.find_spec("lm_eval.evaluator", lm_eval.__path__)
    assert spec is not None and spec.name == "lm_eval.evaluator"
    assert isinstance(pickle.loads(pickle.dumps(spec.loader)), type(spec.loader))
    assert startup.Finder.find_spec("lm_eval.utils", lm_eval.__path__) is None
    assert not startup._searching


def test_a_finder_that_raises_is_left_to_the_normal_import(monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(name, path=None, target=None):
            raise RuntimeError("broken finder")

    monkeypatch.setattr(sys, "meta_path", [Broken])
    assert startup.Finder.find_spec("lm_eval.evaluator") is None


# ---------------------------------------------------------------- task names


def test_bare_names_mean_our_tasks_under_lift_dlm_only():
    names = ["gsm8k", "stock:gsm8k", "aime24", "mmlu", "lift_sudoku_mini"]
    assert hooks.renamed(names, True) == ["lift_gsm8k", "gsm8k", "lift_aime24", "mmlu", "lift_sudoku_mini"]
    assert hooks.renamed(names, False) == ["gsm8k", "gsm8k", "aime24", "mmlu", "lift_sudoku_mini"]
    assert hooks.renamed("gsm8k,stock:mbpp", True) == ["lift_gsm8k", "mbpp"]
    assert hooks.renamed([{"task": "gsm8k"}, "/a/b.yaml"], True) == [{"task": "gsm8k"}, "/a/b.yaml"]


def test_a_stock_name_survives_being_renamed_again():
    once = hooks.renamed(["stock:gsm8k", "gsm8k"], True)
    assert hooks.renamed(once, True) == ["gsm8k", "lift_gsm8k"]


def test_the_command_line_and_simple_evaluate_agree_on_names(caplog, monkeypatch):
    monkeypatch.setattr("lift_harness.lm.before_loading.check_call", lambda arguments: None)
    caplog.set_level("INFO", logger="lm_eval")
    seen = []

    class EvaluatorConfig:
        model = "lift_dlm"
        tasks = "gsm8k,stock:gsm8k"

        def process_tasks(self, metadata=None):
            self.tasks = [str(task) for task in self.tasks]  # as the task manager gives them back
            return "manager"

    def simple_evaluate(model, model_args=None, tasks=None):
        seen.append(tasks)

    config = types.SimpleNamespace(EvaluatorConfig=EvaluatorConfig)
    evaluator = types.SimpleNamespace(simple_evaluate=simple_evaluate)
    for _ in range(2):  # twice: the second time changes nothing
        hooks.rename_on_command_line(config)
        hooks.rename_tasks(evaluator)
    asked = EvaluatorConfig()
    assert asked.process_tasks() == "manager"
    evaluator.simple_evaluate("lift_dlm", tasks=asked.tasks)
    evaluator.simple_evaluate("hf", tasks=["gsm8k"])
    evaluator.simple_evaluate("lift_dlm", None, ["gsm8k", "stock:gsm8k"])
    assert seen == [["lift_gsm8k", "gsm8k"], ["gsm8k"], ["lift_gsm8k", "gsm8k"]]
    assert "gsm8k -> lift_gsm8k" in caplog.text


def test_a_model_of_ours_is_known_by_its_class_and_nothing_is_imported_for_it():
    code = """
        import sys
        from lift_harness.plugin.hooks import is_lift_dlm
        print(is_lift_dlm("lift_dlm"), is_lift_dlm("hf"), is_lift_dlm(object()), "torch" in sys.modules)
        from lift_harness.lm import LiftDLM
        class Derived(LiftDLM):
            pass
        print([is_lift_dlm(cls.__new__(cls)) for cls in (LiftDLM, Derived, object)])
        """
    assert python(code).split("\n")[:2] == ["True False False False", "[True, True, False]"]


def test_a_function_is_replaced_once_even_inside_another_wrapper():
    import functools

    owner = types.SimpleNamespace(double=lambda x: 2 * x)

    def add_one():
        @hooks.in_place_of(owner, "double")
        def double(original, x):
            return original(x) + 1

    add_one()
    add_one()
    assert owner.double(5) == 11
    ours = owner.double
    owner.double = functools.wraps(ours)(lambda x: -ours(x))  # somebody else's, around ours
    add_one()
    assert owner.double(5) == -11
