"""pyvmm.boot.tiny: the parser accepts the image, with both protocols."""

from __future__ import annotations

from pyvmm.boot.direct import NOTE, DirectBoot
from pyvmm.boot.elf import parse
from pyvmm.boot.tiny import tiny_image
from pyvmm.layout import Ram


def test_image_offers_direct_boot_and_pvh_at_its_code() -> None:
    file = tiny_image(b"\xf4\xeb\xfd")
    image = parse(lambda offset, size: file[offset : offset + size], len(file), "tiny")
    (segment,) = image.segments
    assert file[image.entry - segment.paddr :] == b"\xf4\xeb\xfd"
    assert image.notes.keys() == {NOTE, (b"Xen", 18)}
    assert int.from_bytes(image.notes[b"Xen", 18], "little") == image.entry
    assert DirectBoot(image, Ram(16 << 20), 1, b"").entry == image.entry
