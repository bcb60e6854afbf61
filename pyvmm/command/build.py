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
    operands, options, repeated = parse("build", words)
    compile_application(only_operand("build", operands), options.get("-o"), repeated["-d"], "-g" in options)
    return 0
