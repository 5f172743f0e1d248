"""What a wheel of this checkout holds, and how it installs and uninstalls."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"lift_harness": "", "decoding": "decoding", "training": "training", "tasks": "tasks"}
PTH = "lift_harness_startup.pth"


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy, so that building leaves nothing here and takes nothing stale from here."""
    pytest.importorskip("setuptools", "77", reason="pip install 'lift-harness[test]' brings setuptools")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("these tests are not in a checkout")
    copy = tmp_path_factory.mktemp("checkout") / "lift-harness"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", folder, checkout, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_package_folders_is_in_the_wheel(checkout, names):
    expected = set()
    for folder, package in FOLDERS.items():
        for path in (checkout / folder).rglob("*"):
            inside = path.relative_to(checkout / folder)
            data = path.suffix in {".yaml", ".json", ".jsonl", ".typed"} or "lift_tiny" in inside.parts
            if path.is_file() and (path.suffix == ".py" or data):
                expected.add(Path("lift_harness", package, inside).as_posix())
    assert "lift_harness/py.typed" in expected and "lift_harness/tasks/__init__.py" in expected
    assert expected <= names


def test_with_the_links_of_contributing_tools_find_each_module_in_the_checkout(checkout, tmp_path):
    """mypy, pyright and editors look for lift_harness/decoding/engine.py below the root."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("ln -s "))
    linked = tmp_path / "checkout"
    shutil.copytree(checkout, linked, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    before = packages(linked)
    subprocess.run(command, shell=True, cwd=linked, check=True)
    for folder in ("decoding", "training", "tasks"):
        for file in (linked / folder).rglob("*.py"):
            link = linked / "lift_harness" / file.relative_to(linked)
            assert link.resolve() == file
    assert packages(linked) == before and len(set(before)) == len(before)  # a wheel is the same
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/lift_harness/decoding", "/lift_harness/training", "/lift_harness/tasks"} <= set(ignored)


def packages(checkout):
    """What setup.py installs."""
    code = (
        "import setuptools; setuptools.setup = lambda **given: print(*given['packages'])\n"
        "exec(open('setup.py').read())"
    )
    return run(sys.executable, "-c", code, cwd=checkout).split()


def test_nothing_else_is_installed_at_the_top(names):
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lift_harness", PTH}


def test_the_startup_line_is_at_the_root_and_in_record(wheel, names):
    assert PTH in names
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in names if name.endswith(".dist-info/RECORD"))
        listed = {line.rsplit(",", 2)[0] for line in archive.read(record).decode().splitlines()}
        assert listed == names
        assert "import lift_harness.plugin.startup" in archive.read(PTH).decode()


def test_the_metadata_names_the_command_and_the_plugin(wheel, names):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        points = archive.read(path).decode()
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(path).decode()
    assert "[lm_eval.models]\nlift_dlm = lift_harness.lm:LiftDLM" in points
    assert "lift-harness = lift_harness.cli:main" in points
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A bare virtual environment; pip and setuptools are those of this interpreter."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def pip(python: Path, *arguments: object, cwd: Path) -> None:
    """This interpreter's pip, at work on another environment."""
    run(sys.executable, "-m", "pip", "--python", python, *arguments, cwd=cwd)


HOOKED = """
import sys
print([name for name in sys.modules if name.split(".")[0] == "lift_harness"])
import lift_harness
print(lift_harness.__file__)
"""


def test_a_wheel_installs_hooks_in_and_uninstalls(wheel, environment, checkout, tmp_path):
    pip(environment, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Not even the checkout as current folder hides the installed package.
    modules, path = run(environment, "-c", HOOKED, cwd=checkout).splitlines()
    assert modules == "['lift_harness', 'lift_harness.plugin', 'lift_harness.plugin.startup']"
    site = Path(path).parents[1]
    assert site.name == "site-packages" and (site / PTH).is_file()

    pip(environment, "uninstall", "--yes", "lift-harness", cwd=tmp_path)
    assert not list(site.glob("*lift*"))
    assert (
        run(environment, "-c", "import sys; print('lift_harness' in sys.modules)", cwd=tmp_path) == "False\n"
    )


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_an_editable_install_does_the_same(environment, checkout, tmp_path, mode):
    setuptools = Path(__import__("setuptools").__file__).parents[1]
    wheel_of = (
        f"import sys; sys.path.append({str(setuptools)!r}); from setuptools import build_meta; "
        f"print(build_meta.build_editable({str(tmp_path)!r}, {{'editable_mode': {mode!r}}}))"
    )
    name = run(sys.executable, "-c", wheel_of, cwd=checkout).splitlines()[-1]
    pip(environment, "install", "--no-deps", "--no-index", tmp_path / name, cwd=tmp_path)
    code = HOOKED + "import lift_harness.tasks; print(lift_harness.tasks.__file__)"
    modules, package, tasks = run(environment, "-c", code, cwd=tmp_path).splitlines()
    assert modules == "['lift_harness', 'lift_harness.plugin', 'lift_harness.plugin.startup']"
    assert Path(package).resolve().parents[1] == checkout
    assert Path(tasks).resolve().parents[1] == checkout

    if mode == "lenient":  # new modules and sub-packages need no new installation
        for new in ("tasks/new_module.py", "training/new_package/__init__.py"):
            (checkout / new).parent.mkdir(exist_ok=True)
            (checkout / new).touch()
        new = "import lift_harness.tasks.new_module, lift_harness.training.new_package"
        run(environment, "-c", new, cwd=tmp_path)

    pip(environment, "uninstall", "--yes", "lift-harness", cwd=tmp_path)
    assert not list((environment.parents[1]).rglob(PTH))
