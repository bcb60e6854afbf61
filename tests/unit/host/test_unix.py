"""The unix socket of `--vsock-uds`: its file, and what may be in its place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from guests import open_fds

from pyvmm.errors import ConfigError, HostError
from pyvmm.host.unix import PATH_MAX, UnixHost


def test_it_listens_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    host = UnixHost(str(path), 4)
    assert host.path == bytes(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    host.close()
    host.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    host = UnixHost(str(path), 4)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    host.close()


def test_a_socket_that_is_listened_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    host = UnixHost(str(path), 4)
    before = open_fds()
    with pytest.raises(HostError, match=r"Address already in use; another program listens there; choose another path$"):
        UnixHost(str(path), 4)
    assert open_fds() == before
    assert path.exists()
    host.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_other_files_are_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "v.sock"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("elsewhere")
    before = open_fds()
    with pytest.raises(ConfigError, match=r"another kind of file is there; remove it, or choose another path$"):
        UnixHost(str(path), 4)
    assert open_fds() == before
    assert path.lstat()


def test_a_file_that_somebody_else_has_put_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    host = UnixHost(str(path), 4)
    path.rename(tmp_path / "moved")
    path.write_text("mine")
    host.close()
    assert path.read_text() == "mine"


def test_a_file_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    host = UnixHost(str(path), 4)
    path.unlink()
    host.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    before = open_fds()
    with pytest.raises(HostError, match=r"unix .*/no/v\.sock: No such file or directory$"):
        UnixHost(str(tmp_path / "no" / "v.sock"), 4)
    assert open_fds() == before


@pytest.mark.parametrize("path", ["", "a\0b", "x" * (PATH_MAX + 1)])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(ConfigError, match="not a path of 1 to"):
        UnixHost(path, 4)


def test_the_longest_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = "x" * PATH_MAX
    UnixHost(path, 4).close()
    assert not os.path.exists(path)
