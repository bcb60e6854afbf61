"""`pyvmm oci`: what `pyvmm-oci` has done to a bundle before the real runtime sees it."""

from __future__ import annotations

import posix as os

from pyvmm.command.options import only_operand, parse
from pyvmm.errors import HostError, PyvmmError
from pyvmm.oci import parts
from pyvmm.oci.bundle import Bundle, BundleError
from pyvmm.oci.guest import Guest, find
from pyvmm.oci.rewrite import device_words, machine_words, pass_kvm, rewrite

_CONSOLE, _VSOCK, _FS = 3, 19, 26  # virtio 1.2, section 5
_STATE = "pyvmm.state"
_STATUS_PASSES_KVM = 1  # as in oci.c


def oci(words: list[str]) -> int:
    """Makes a guest of a bundle's container, if it is one.

    Args:
        words: what follows the command.

    Returns:
        The exit status: 0, or 1 if the container is one for which `--pass-kvm` counts.

    Raises:
        PyvmmError: it cannot be one; the log, from which engines take their message, has the reason.
    """
    operands, options, _ = parse("oci", words)
    try:
        bundle = Bundle(only_operand("oci", operands))
        guest = find(bundle)
        if guest:
            _make_guest(bundle, guest)
            if "--pass-kvm" in options:
                pass_kvm(bundle)
            bundle.save()
    except PyvmmError as error:
        if "--log" in options:
            _log(options["--log"], f"pyvmm: {error}")
        raise
    return _STATUS_PASSES_KVM if guest and "--pass-kvm" in options else 0


def _make_guest(bundle: Bundle, guest: Guest) -> None:
    """Has the container boot it: a Toro image from the State in which it starts, so that nothing has to be composed."""
    machine, devices = machine_words(bundle, guest), device_words(bundle, guest)
    if "boot" in guest.settings:
        rewrite(bundle, guest, [guest.image, *machine, *devices])
    else:
        _, options, _ = parse("boot", machine)
        _, one, many = parse("boot", devices)
        kinds = [_CONSOLE] * ("--console" in one) + [_VSOCK] * ("--vsock" in one) + [_FS] * len(many["--share"])
        state = _write_state(bundle, guest.image, options, kinds)
        rewrite(bundle, guest, [parts.STATE, *devices], state)


def _write_state(bundle: Bundle, image: str, options: dict[str, str], kinds: list[int]) -> str:
    """Writes the State with which a machine starts; returns the file's path."""
    from pyvmm.boot.compose import compose
    from pyvmm.command.boot import machine_config
    from pyvmm.host.newfile import NewFile, write

    fd = bundle.open(image)
    name = f"/proc/self/fd/{fd}"
    try:
        state = compose(machine_config(name, options), kinds, shared=False)
        try:
            directory = os.open(bundle.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                file = NewFile(directory, _STATE)
                try:
                    write(file.fd, state.parts() or [])
                    file.keep()
                finally:
                    file.close()
                os.chmod(_STATE, 0o444, dir_fd=directory)  # whatever user the container has
            finally:
                os.close(directory)
        finally:
            state.memory.close()
    except OSError as error:
        raise HostError(f"{bundle.path}/{_STATE}", error.errno or 0) from None
    except PyvmmError as error:
        raise BundleError(str(error).replace(name, image)) from None
    finally:
        if fd >= 0:
            os.close(fd)
    return f"{bundle.path}/{_STATE}"


def _log(path: str, message: str) -> None:
    """Adds an error to the log of a runtime, in runc's format."""
    from pyvmm.jsontext import dumps

    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    os.write(fd, dumps({"level": "error", "msg": message}).encode() + b"\n")
    os.close(fd)
