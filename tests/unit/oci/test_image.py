"""Archives of container images."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from bundles import TORO
from guests import pyvmm

from pyvmm.errors import ConfigError
from pyvmm.oci.image import full_name, write_image


def files(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]


def test_both_formats_name_the_same_layer(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    write_image(target, "localhost/web:2", TORO, b'{"mem": "64M"}')
    parts = files(target.read_bytes())

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = parts["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert descriptor["digest"] == f"sha256:{sha256(data).hexdigest()}"
        assert descriptor["size"] == len(data)
        return data

    assert json.loads(parts["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(parts["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/web:2"
    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    layer = blob(manifest["layers"][0])
    assert config["config"]["Entrypoint"] == ["/guest.elf"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{sha256(layer).hexdigest()}"]
    assert files(layer) == {"guest.elf": TORO, "pyvmm.json": b'{"mem": "64M"}'}
    (docker,) = json.loads(parts["manifest.json"])
    assert docker["RepoTags"] == ["localhost/web:2"]
    assert parts[docker["Config"]] == blob(manifest["config"])
    assert parts[docker["Layers"][0]] == layer


def test_the_same_content_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / name, "localhost/web:1", TORO)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("web", "localhost/web:latest"),
        ("web:2", "localhost/web:2"),
        ("example.org:5000/a/web", "example.org:5000/a/web:latest"),
        ("example.org/web:3", "example.org/web:3"),
    ],
)
def test_names_are_completed_as_engines_do(name: str, full: str) -> None:
    assert full_name(name) == full


@pytest.mark.parametrize("name", ["", "Web", "a b", ":1", "a//b", "a/", "ä"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^image"):
        full_name(name)


@pytest.mark.parametrize("file", ["web.elf", "web"])
def test_the_command_makes_an_image_of_an_elf_file(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(TORO)
    (tmp_path / "how.json").write_text('{"cpus": 2}')
    result = pyvmm("image", "build", f"{tmp_path}/{file}", "--settings", f"{tmp_path}/how.json")
    assert (result.status, result.stderr) == (0, "")
    (docker,) = json.loads(files((tmp_path / "web.tar").read_bytes())["manifest.json"])
    assert docker["RepoTags"] == ["localhost/web:latest"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "not `image build SOURCE`"),
        (["make", "a.elf"], "not `image build SOURCE`"),
        (["build", "/no/such.elf"], "/no/such.elf: No such file or directory"),
        (["build", "a.elf", "-t", "A"], "-t A: not a name such as web"),
        (["build", "/dev/null.pas"], "/dev/null.pas: No such file or directory"),
    ],
)
def test_mistakes_are_lines(words: list[str], message: str) -> None:
    result = pyvmm("image", *words)
    assert result.status == 125
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
