"""`pyvmm image build`: from a program or an ELF image to a container image."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pyvmm.command.options import parse
from pyvmm.errors import HostError, UsageError
from pyvmm.oci.image import full_name, write_image

_ELF = b"\x7fELF"


def image(words: list[str]) -> int:
    """Makes the archive of a container image.

    Args:
        words: what follows the command.

    Returns:
        The exit status, 0.

    Raises:
        PyvmmError: it cannot be.
    """
    operands, options, _ = parse("image", words)
    if len(operands) != 2 or operands[0] != "build":
        raise UsageError("image: not `image build SOURCE`; try `pyvmm image --help`")
    source = Path(operands[1])
    name = full_name(options.get("-t", source.stem.lower()))
    target = Path(options.get("-o", source.with_suffix(".tar")))
    try:
        settings = Path(options["--settings"]).read_bytes() if "--settings" in options else b""
        guest = source.read_bytes()
        if not guest.startswith(_ELF):
            from pyvmm.toolchain.build import build

            with TemporaryDirectory() as folder:
                guest = build(str(source), f"{folder}/guest.elf").read_bytes()
        write_image(target, name, guest, settings)
    except OSError as error:
        raise HostError(str(error.filename), error.errno or 0) from None
    return 0
