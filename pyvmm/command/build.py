"""`pyvmm build`: its options; `pyvmm.toolchain` does the rest."""

from __future__ import annotations

from pyvmm.command.options import only_operand, parse
from pyvmm.toolchain.build import build as compile_application


def build(words: list[str]) -> int:
    """Compiles an application.

    Args:
        words: what follows the command.

    Returns:
        The exit status.

    Raises:
        UsageError, BuildError: it cannot be.
    """
    own, compiler = words, list[str]()
    if "--" in words:
        at = words.index("--")
        own, compiler = words[:at], words[at + 1 :]
    sources, options, repeated = parse("build", own)
    if not sources:
        only_operand("build", sources)
    compile_application(
        sources, options.get("-o"), repeated["-d"], "-g" in options, places=repeated["-I"], options=compiler
    )
    return 0
