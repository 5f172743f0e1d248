"""What pyproject.toml cannot say: which folder is which package, and the start-up .pth."""

from pathlib import Path

from setuptools import Command, find_packages, setup
from setuptools.command.build import build

# The repository's top-level folders live under one import name, so that nothing called
# `tasks`, `training` or `decoding` is ever installed.
FOLDERS = {
    "lift_harness": "lift_harness",
    "lift_harness.decoding": "decoding",
    "lift_harness.training": "training",
    "lift_harness.tasks": "tasks",
}
# Links to the others may stand in lift_harness/ for tools that read the checkout (CONTRIBUTING.md).
LINKS = [name.partition(".")[2] for name in FOLDERS if "." in name]
NOT_TWICE = [*LINKS, *(f"{name}.*" for name in LINKS)]
PACKAGES = [
    name
    for root, folder in FOLDERS.items()
    for name in (root, *(f"{root}.{sub}" for sub in find_packages(folder, exclude=NOT_TWICE)))
]

# Python's `site` runs every *.pth of site-packages in name order at start-up. The name sorts after
# setuptools' `__editable__*.pth`, which makes the package importable in an editable install; the
# line checks the switch, and swallows any error: a broken install must not break Python.
PTH_NAME = "lift_harness_startup.pth"
PTH_LINE = (
    "import os; os.environ.get('LIFT_HARNESS_NO_PLUGIN') == '1' or "
    r"exec('try:\n import lift_harness.plugin.startup as s; s.install()\nexcept Exception: pass')"
    "\n"
)


class BuildPth(Command):
    """Put the .pth beside the packages, in wheels and in editable wheels.

    A build step, not data files: those go below sys.prefix, and only files at a wheel's root land in
    site-packages, are listed in RECORD, and are removed by `pip uninstall`.
    """

    editable_mode = False  # set by setuptools, see setuptools.command.build.SubCommand

    def initialize_options(self):
        self.build_lib = None
        self.install_lib = None

    def finalize_options(self):
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))
        # While an editable wheel is built, install_lib is the root of that wheel; build_lib is dropped.
        self.set_undefined_options("install", ("install_lib", "install_lib"))

    def run(self):
        root = Path(self.install_lib if self.editable_mode else self.build_lib)
        root.mkdir(parents=True, exist_ok=True)
        (root / PTH_NAME).write_text(PTH_LINE, encoding="ascii")

    def get_outputs(self):
        return [] if self.editable_mode else [str(Path(self.build_lib, PTH_NAME))]

    def get_output_mapping(self):
        return {}

    def get_source_files(self):
        return []


class Build(build):
    """The usual build, then the .pth."""

    sub_commands = [*build.sub_commands, ("build_pth", None)]


setup(packages=PACKAGES, package_dir=FOLDERS, cmdclass={"build": Build, "build_pth": BuildPth})
