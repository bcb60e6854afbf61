"""The manual page pyvmm(1), in man(7), of the table of options."""

from __future__ import annotations

import re

from pyvmm import __version__
from pyvmm.command.help import STATUSES, SUMMARY, description, purpose, sentence, usage
from pyvmm.command.options import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.command.options import Option

_DESCRIPTION = """\
pyvmm is a virtual machine monitor that drives `/dev/kvm` itself. It boots Toro unikernels, an application and its \
kernel in one image, within milliseconds; kernels with a PVH note and Linux boot as well."""
_EXAMPLES = (
    ("Compile a program and boot it:", "pyvmm build hello.pas && pyvmm boot hello.elf"),
    (
        "Publish port 80 of a web server that serves a directory:",
        "pyvmm boot server.elf --vsock 5 -p 8080:80 --share .:www:ro",
    ),
)


def manual() -> str:
    """The page's source."""
    lines = [
        f'.TH PYVMM 1 "" "pyvmm {__version__}" "User Commands"',
        ".ad l",  # a long option would be torn apart
        ".SH NAME",
        _text(f"pyvmm - {SUMMARY}"),
        ".SH SYNOPSIS",
        *_joined([_usage(command) for command in COMMANDS], ".br"),
        ".SH DESCRIPTION",
        _text(_DESCRIPTION),
        ".SH COMMANDS",
    ]
    for command, (_, _, summary, _, options) in COMMANDS.items():
        lines += [f".SS {_usage(command)}", _text(sentence(summary)), ".PP", _text(description(command))]
        for option in options:
            lines += [".TP", _head(option), _text(sentence(purpose(option)))]
    lines.append(".SH EXIT STATUS")
    for status, text in STATUSES:
        lines += [".TP", _bold(status), _text(sentence(text))]
    lines.append(".SH EXAMPLES")
    for text, command in _EXAMPLES:
        lines += [".PP", _text(text), ".PP", ".RS 4", ".EX", _escape(command), ".EE", ".RE"]
    return "\n".join(lines) + "\n"


def _joined(lines: list[str], between: str) -> list[str]:
    return [line for pair in zip(lines, [between] * len(lines), strict=True) for line in pair][:-1]


def _escape(text: str) -> str:
    """Text as roff takes it: every hyphen is a minus, and no line is a request."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", r"\e").replace("-", r"\-"))


def _text(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", _escape(text))


def _bold(text: str) -> str:
    return rf"\fB{_escape(text)}\fR"


def _placeholders(text: str) -> str:
    return re.sub(r"[A-Z]+", r"\\fI\g<0>\\fR", _escape(text))


def _usage(command: str) -> str:
    program, name, rest = usage(command).split(" ", 2)
    return f"{_bold(f'{program} {name}')} {_placeholders(rest)}"


def _head(option: Option) -> str:
    name, takes, placeholder, _, _ = option
    if takes == "flag":
        return _bold(name)
    value = _placeholders(placeholder)
    return f"{_bold(name)}[={value}]" if takes == "optional" else f"{_bold(name)} {value}"
