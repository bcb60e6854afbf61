"""`pyvmm --help`, and `pyvmm COMMAND --help`."""

from __future__ import annotations

from textwrap import wrap

from pyvmm.command.options import COMMANDS, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.command.options import Option

SUMMARY = "boots Toro unikernels on KVM"
#: Exit status, and what it means.
STATUSES = (
    ("other", "the guest's own"),
    ("120", "the Toro kernel reported a CPU exception or a panic, with registers and a backtrace"),
    ("124", "a vCPU cannot go on: triple fault, an instruction that KVM cannot execute, or it hangs (`--watchdog`)"),
    ("125", "pyvmm failed or was misused; one line says what, where and what to do"),
    ("130", "ended by Ctrl-C"),
    ("143", "ended by SIGTERM or SIGHUP"),
)
_WIDTH, _INDENT, _COLUMN = 90, 4, 22


def usage(command: str) -> str:
    """A command's words: `pyvmm boot IMAGE [OPTION...]`."""
    return " ".join(filter(None, ("pyvmm", command, COMMANDS[command][0], "[OPTION...]")))


def overview() -> str:
    """The commands, and the exit status."""
    commands = [_entry(usage(name), COMMANDS[name][2], 38) for name in COMMANDS]
    statuses = [_entry(status, text, 12) for status, text in STATUSES]
    return "\n".join(
        [
            f"pyvmm: {SUMMARY}",
            "",
            *commands,
            _entry("pyvmm --version", "print the version", 38),
            "",
            "`pyvmm COMMAND --help` lists a command's options; pyvmm(1) is the whole manual.",
            "",
            "Exit status:",
            *statuses,
            "",
        ]
    )


def help_of(command: str) -> str:
    """A command and its options."""
    _, _, summary, _, options = COMMANDS[command]
    lines = [
        f"usage: {usage(command)}",
        "",
        *wrap(sentence(summary), _WIDTH),
        "",
        *wrap(description(command), _WIDTH),
        "",
    ]
    if options:
        lines += ["Options:", *(_entry(head(option), purpose(option), _COLUMN) for option in options), ""]
    return "\n".join(lines)


def sentence(text: str) -> str:
    """A summary, or a purpose, as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def description(command: str) -> str:
    """More of a command, and which operands it takes."""
    operand, values, _, text, _ = COMMANDS[command]
    names = words_of(values)
    return f"{text} {operand} is one of {', '.join(f'`{name}`' for name in names)}." if names else text


def head(option: Option) -> str:
    """How an option is written: `--mem SIZE`."""
    name, takes, placeholder, _, _ = option
    if takes == "flag":
        return name
    return f"{name}[={placeholder}]" if takes == "optional" else f"{name} {placeholder}"


def purpose(option: Option) -> str:
    """What an option is for."""
    return f"{option[4]}; repeatable" if option[1] == "repeatable" else option[4]


def _entry(term: str, text: str, column: int) -> str:
    """A term, and behind it or below its description, which begins at a column."""
    lines = wrap(text, _WIDTH - column, break_on_hyphens=False)
    first = f"{'':{_INDENT}}{term}"
    if len(first) + 2 > column:
        lines.insert(0, first)
    else:
        lines[0] = f"{first:{column}}{lines[0]}"
    return f"\n{'':{column}}".join(lines)
