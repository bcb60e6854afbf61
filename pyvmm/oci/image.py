"""Container images that have nothing but a guest, as archives for `podman load` and the like.

An archive is an OCI image layout (image-spec, image-layout.md) which is also in the format of
`docker save`: both name the same blobs.
"""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

from pyvmm.errors import ConfigError
from pyvmm.oci.guest import SETTINGS_FILE

#: Where the guest is in the image.
GUEST = "/guest.elf"
_TYPE = "application/vnd.oci.image"
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/:")


def full_name(name: str) -> str:
    """An image's name with a registry and a tag, as engines complete it.

    Raises:
        ConfigError: it is no name.
    """
    last = name.rpartition("/")[2]
    ends = (part[:1] + part[-1:] for part in name.split("/"))
    if not set(name) <= _NAME_LETTERS or not all(end.isalnum() for end in ends):
        raise ConfigError("image", name, "not a name such as web, web:2 or registry/web:2, in lower case")
    tagged = name if ":" in last else f"{name}:latest"
    return tagged if "/" in name else f"localhost/{tagged}"


def write_image(target: Path, name: str, guest: bytes, settings: bytes = b"") -> None:
    """Writes the archive of an image. The same content makes the same bytes.

    Args:
        target: the file; one that is there is replaced.
        name: a `full_name`.
        guest: an ELF image.
        settings: the image's `/pyvmm.json`, if it has one.

    Raises:
        OSError: it cannot be written.
    """
    files = {GUEST.lstrip("/"): guest}
    if settings:
        files[SETTINGS_FILE.lstrip("/")] = settings
    layer = _tar(files, mode=0o755)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [GUEST]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar", layer)],
        }
    )
    tag = name.rpartition(":")[2]
    names = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [_descriptor("manifest.v1+json", manifest) | {"annotations": names}]}
    docker = [{"Config": _blob(config), "RepoTags": [name], "Layers": [_blob(layer)]}]
    parts = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json(index),
        "manifest.json": _json(docker),
        **{_blob(blob): blob for blob in (config, manifest, layer)},
    }
    target.write_bytes(_tar(parts, mode=0o644))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _blob(data: bytes) -> str:
    return f"blobs/sha256/{sha256(data).hexdigest()}"


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    digest = f"sha256:{sha256(data).hexdigest()}"
    return {"mediaType": f"{_TYPE}.{kind}", "digest": digest, "size": len(data)}


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()
