"""Draws a terminal session as SVG: python docs/recording.py COMMAND... > docs/terminal.svg

Each command is run in a shell and shown with its output, in a window that reads well on light
and dark pages. docs/terminal.svg shows two commands, run beside a copy of HelloWorld.pas:

    pyvmm build HelloWorld.pas
    pyvmm boot HelloWorld.elf --mem 2G --cpus 4 --timing
"""

import subprocess
import sys
from html import escape

WIDTH, LINE, LEFT, TOP, CHARACTER = 470, 18, 18, 46, 7.83
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
PLAIN, PROMPT, COMMAND = "#c9d1d9", "#7ee787", "#ffffff"


def text(x: float, row: int, colour: str, string: str) -> str:
    """One piece of a line; its width is fixed, so columns line up in any font."""
    length = f' textLength="{len(string) * CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"' if string else ""
    return f'<text x="{x:.1f}" y="{TOP + row * LINE}" fill="{colour}"{length}>{escape(string)}</text>'


def main(commands: list[str]) -> None:
    rows = []
    for command in commands:
        rows.append(text(LEFT, len(rows), PROMPT, "$") + text(LEFT + 2 * CHARACTER, len(rows), COMMAND, command))
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in done.stdout.splitlines():
            rows.append(text(LEFT, len(rows), PLAIN, line))
    height = TOP + LINE * len(rows)
    dots = "".join(
        f'<circle cx="{LEFT + 4 + 18 * i}" cy="18" r="5" fill="{colour}"/>'
        for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="{FONT}" font-size="13" xml:space="preserve">\n'
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#161b22" stroke="#444c56"/>\n'
        f"{dots}\n" + "\n".join(rows) + "\n</svg>"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
