"""What a helper process does for a guest's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from guests import wait_until

from pyvmm.host import errands
from pyvmm.host.errands import OwnFile

#: Has errands done by a helper, and tells what became of them.
PROGRAM = """
import os, sys
from pyvmm.host import errands

class Told(errands.Errand):
    def do(self, what):
        if what == 9:
            raise OSError(2, "")
        return os.getpid(), [os.open(sys.argv[1], os.O_RDONLY)]

    def end(self):
        os.unlink(sys.argv[1])

told, secret = Told(), os.open(sys.argv[1], os.O_RDONLY)

class Open(errands.Errand):
    fds = [secret] if "kept" in sys.argv else []

    def do(self, what):
        os.fstat(secret)
        return 0, []

looks = Open()
assert told.ask(0)[0] == os.getpid()
errands.fork()
helper, (fd,) = told.ask(0)
assert helper != os.getpid() and os.read(fd, 9) == b"content"
for errand, what in (told, 9), (looks, 0):
    try:
        print(errand.ask(what)[0])
    except OSError as error:
        print(error.errno)
assert not told.forget()
if "killed" in sys.argv:
    os.kill(os.getpid(), 9)
errands.close()
errands.close()
assert not os.path.exists(sys.argv[1])
"""


@pytest.mark.parametrize(("kept", "looks"), [("kept", "0"), ("not", "9")])
def test_a_helper_does_them_with_the_descriptors_that_they_name(tmp_path: Path, kept: str, looks: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "file"), kept]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["2", looks], "")


def test_a_helper_undoes_what_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "file"), "killed"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == -9
    wait_until(lambda: not (tmp_path / "file").exists(), "the helper removes the file")


def test_a_file_that_another_has_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    before = [*errands._errands]
    for replaced in (False, True):
        path.write_bytes(b"ours")
        own = OwnFile(os.fsencode(path))
        if replaced:
            (tmp_path / "other").write_bytes(b"")
            os.replace(tmp_path / "other", path)
        own.ask(0)
        assert own.forget()
        assert not own.forget()
        assert path.exists() == replaced
    assert errands._errands == before
