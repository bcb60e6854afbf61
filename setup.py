"""Builds pyvmm's C part with cffi, and the `pyvmm` command; the metadata is in pyproject.toml."""

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup  # first: it brings distutils
from setuptools.command.build_ext import build_ext

from distutils.command.build_scripts import build_scripts  # isort: skip

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
from pyvmm.command.executable import build as executable  # noqa: E402

EXECUTABLE = Path("build/executable")
#: Folders that lie beside pyvmm in the source tree, and inside it once installed.
INSIDE = {"pyvmm.bench": "bench", "pyvmm.examples": "examples", "pyvmm.toro": "toro"}


class BuildExt(build_ext):
    """The C part, and the executable that has it as well, where Python is there as a library."""

    def run(self) -> None:
        super().run()
        if executable.libpython():
            objects = self.compiler.object_filenames(self.extensions[0].sources, output_dir=self.build_temp)
            executable.build(self.compiler, ROOT, objects, EXECUTABLE, self.inplace)


class BuildScripts(build_scripts):
    """The command: that executable, or else `bin/pyvmm`, which starts slower."""

    def run(self) -> None:
        if not executable.libpython():
            super().run()
            return
        self.run_command("build_ext")
        self.mkpath(self.build_dir)
        shutil.copy(EXECUTABLE / "bin/pyvmm", self.build_dir)


setup(
    packages=[*find_packages(include=["pyvmm", "pyvmm.*", "vhost_user"]), *INSIDE],
    package_dir=INSIDE,
    cffi_modules=["pyvmm/native/build.py:ffi"],
    scripts=["bin/pyvmm"],
    cmdclass={"build_ext": BuildExt, "build_scripts": BuildScripts},
)
