"""FPC's library for applications: where its sources are, and what is compiled of it.

All of it comes unchanged from Debian's fpc-source. The units of FPC's run-time library are
compiled together with the kernel, those of its packages when a program first uses them.
"""

from __future__ import annotations

from pathlib import Path

SOURCES = Path("/usr/share/fpcsrc")

#: The target: FPC's library for Linux, on the kernel's system calls (SystemCalls.pas); code that
#: need not move. Programs know Toro by its symbol.
TARGET = ["-n", "-Tlinux", "-Cg-", "-dTORO"]
#: FPC does not look whether a released unit has changed, which it believes of one that was
#: compiled with other paths.
RELEASED = ["-Ur"]
#: The heap is ours: toro/rtl/system/sysheap.inc.
SYSTEM = ["-dHAS_MEMORYMANAGER", "-dHAS_GETCPUCOUNT", "-Us", "-Sg"]

#: Units of the run-time library that are compiled with the kernel.
UNITS = (
    *("SysUtils", "Classes", "Math", "Types", "TypInfo", "Strings", "CTypes", "FGL", "Dos", "BaseUnix", "Unix"),
    *("UnixType", "UnixUtil", "Syscall", "Linux", "Errors", "GetOpts", "MacPas", "ISO7185", "ExtPas", "HeapTrc"),
)
_RTL = ("linux", "unix", "inc", "objpas", "x86_64", "charmaps", "linux/x86_64", "objpas/sysutils", "objpas/classes")

#: The packages, each with the directories below its src/ that belong to it on Linux. Left out
#: are those that bind a library in C, start processes, or draw on a screen.
PACKAGES = {
    "rtl-objpas": ("inc", "x86_64", "common"),
    "rtl-generics": ("", "inc"),
    "rtl-unicode": ("inc", "collations"),
    "rtl-extra": ("unix", "linux", "inc"),
    "rtl-console": ("unix", "inc"),
    "fcl-base": ("", "unix"),
    "fcl-json": ("",),
    "fcl-xml": ("",),
    "fcl-stl": ("",),
    "fcl-fpcunit": ("",),
    "fcl-process": ("", "unix"),
    "fcl-net": ("", "unix"),
    "fcl-web": ("base", "jsonrpc", "hpack", "restbridge", "webdata"),
    "fcl-db": ("base", "memds", "dbase", "sdf", "json", "sql", "export", "codegen", "datadict", "sqldb"),
    "fcl-image": ("",),
    "fcl-passrc": ("",),
    "fcl-registry": ("",),
    "fcl-res": ("",),
    "fcl-extra": ("", "unix"),
    "fcl-async": ("", "unix"),
    "fcl-pdf": ("",),
    "fcl-report": ("",),
    "fcl-sdo": ("base", "das"),
    "fcl-js": ("",),
    "fcl-sound": ("",),
    "hash": ("",),
    "paszlib": ("",),
    "pasjpeg": ("",),
    "bzip2": ("",),
    "unzip": ("",),
    "libtar": ("",),
    "chm": ("",),
    "regexpr": ("",),
    "numlib": ("",),
    "symbolic": ("",),
    "tplylib": ("",),
    "vcl-compat": ("",),
    "unixutil": ("",),
    "webidl": ("",),
    "pastojs": ("",),
    "fpindexer": ("",),
    "odata": ("",),
    "googleapi": ("",),
    "zorba": ("",),
}

#: Those that FPC compiles with other options (their fpmake.pp): with Delphi's language and long strings.
_OPTIONS = {**dict.fromkeys(("fcl-db", "fcl-process", "fcl-stl", "fcl-xml"), ("-S2h",)), "pastojs": ("-S2h", "-Sc")}


def system_paths(fpc: Path, toro: Path) -> list[str]:
    """Options that make the compiler find the include files of the system unit.

    Args:
        fpc: FPC's sources.
        toro: Toro's.
    """
    places = (toro / "rtl/system", *(fpc / "rtl" / name for name in ("linux/x86_64", "linux", "unix", "inc", "x86_64")))
    return [f"-Fi{place}" for place in places]


def rtl_paths(fpc: Path) -> list[str]:
    """Options that make the compiler find the run-time library's units and include files."""
    places = [fpc / "rtl" / name for name in _RTL]
    return [*(f"-Fu{place}" for place in places), *(f"-Fi{place}" for place in places)]


def package_places(fpc: Path, options: tuple[str, ...] | None = None) -> list[Path]:
    """The directories of the packages' units and include files; by default of all packages.

    Args:
        fpc: FPC's sources.
        options: of the packages that are compiled with these.
    """
    return [
        fpc / "packages" / name / "src" / below
        for name, parts in PACKAGES.items()
        if options is None or _OPTIONS.get(name, ()) == options
        for below in parts
    ]


def package_options(fpc: Path, source: Path) -> tuple[str, ...]:
    """The compiler's options for a unit."""
    place = fpc / "packages"
    return _OPTIONS.get(source.relative_to(place).parts[0], ()) if source.is_relative_to(place) else ()


def unit_source(fpc: Path, toro: Path, unit: str) -> Path | None:
    """The source of a unit of FPC's run-time library or packages; None: it has none of this name.

    Toro has some in place of FPC's.
    """
    places = [toro / "rtl/packages", *(fpc / "rtl" / name for name in _RTL), *package_places(fpc)]
    for place in places:
        for path in place.glob("*.p*"):
            if path.stem.lower() == unit.lower() and path.suffix in (".pp", ".pas"):
                return path
    return None
