"""Builds pyvmm's C part with cffi, and the `pyvmm` command; the metadata is in pyproject.toml."""

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup  # first: it brings distutils
from setuptools.command.build_ext import build_ext

from distutils.command.install_data import install_data  # isort: skip
from distutils.command.build_scripts import build_scripts  # isort: skip

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
from pyvmm.command import completion  # noqa: E402
from pyvmm.command.executable import build as executable  # noqa: E402
from pyvmm.command.manual import manual  # noqa: E402

EXECUTABLE = Path("build/executable")
#: What is written of the table of options, and the unit of systemd, and where they are installed.
PAGES = {
    "share/man/man1/pyvmm.1": manual,
    "share/bash-completion/completions/pyvmm": completion.bash,
    "share/zsh/site-functions/_pyvmm": completion.zsh,
    "share/fish/vendor_completions.d/pyvmm.fish": completion.fish,
    "lib/systemd/system/pyvmm@.service": (ROOT / "systemd/pyvmm@.service").read_text,
}
#: Folders that lie beside pyvmm in the source tree, and inside it once installed.
INSIDE = {"pyvmm.bench": "bench", "pyvmm.examples": "examples", "pyvmm.toro": "toro"}


class BuildExt(build_ext):
    """The C part, and the executable that has it as well, where Python is there as a library."""

    def run(self) -> None:
        super().run()
        if executable.libpython():
            executable.build_oci(self.compiler, EXECUTABLE)
            objects = self.compiler.object_filenames(self.extensions[0].sources, output_dir=self.build_temp)
            executable.build(self.compiler, ROOT, objects, EXECUTABLE, self.inplace)


class BuildScripts(build_scripts):
    """The commands: those executables, or else `bin/pyvmm`, which starts slower."""

    def run(self) -> None:
        if not executable.libpython():
            super().run()
            return
        self.run_command("build_ext")
        self.mkpath(self.build_dir)
        for name in ("pyvmm", "pyvmm-oci"):
            shutil.copy(EXECUTABLE / "bin" / name, self.build_dir)


class InstallData(install_data):
    """The manual page, and the completions for shells."""

    def run(self) -> None:
        self.data_files = []
        for place, text in PAGES.items():
            file = Path("build", place)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text())
            self.data_files.append((str(Path(place).parent), [str(file)]))
        super().run()


setup(
    packages=[*find_packages(include=["pyvmm", "pyvmm.*", "vhost_user"]), *INSIDE],
    package_dir=INSIDE,
    cffi_modules=["pyvmm/native/build.py:ffi"],
    scripts=["bin/pyvmm"],
    data_files=[(str(Path(place).parent), []) for place in PAGES],
    cmdclass={"build_ext": BuildExt, "build_scripts": BuildScripts, "install_data": InstallData},
)
