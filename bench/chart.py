"""Bar charts as SVG."""

from __future__ import annotations

import statistics
from html import escape

_WIDTH, _ROW, _LEFT, _RIGHT = 720, 18, 150, 60
_COLOURS = ("#4878a8", "#a8c4dc")


def bars(samples: dict[str, dict[str, list[float]]], quantities: tuple[str, ...], unit: str) -> str:
    """Draws medians: a group of bars for each name, a bar for each quantity.

    Args:
        samples: by name and quantity.
        quantities: those to draw, in order.
        unit: their unit, for the legend.
    """
    medians = {
        name: {quantity: statistics.median(known[quantity]) for quantity in quantities if known.get(quantity)}
        for name, known in samples.items()
    }
    scale = (_WIDTH - _LEFT - _RIGHT) / max(value for known in medians.values() for value in known.values())
    rows = []
    y = 8
    for name, known in medians.items():
        middle = y + _ROW * len(known) / 2 + 4
        rows.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
        for quantity, colour in zip(quantities, _COLOURS, strict=True):
            if quantity in known:
                width = known[quantity] * scale
                rows.append(
                    f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_ROW - 3}" fill="{colour}"/>'
                    f'<text x="{_LEFT + width + 5:.1f}" y="{y + 12}">{known[quantity]:.2f}</text>'
                )
                y += _ROW
        y += 10
    for index, (quantity, colour) in enumerate(zip(quantities, _COLOURS, strict=True)):
        x = _LEFT + index * 150
        rows.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        rows.append(f'<text x="{x + 17}" y="{y + 11}">{escape(quantity)}</text>')
    rows.append(f'<text x="{_LEFT + 300}" y="{y + 11}">{escape(unit)}</text>')
    body = "\n".join(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 24}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )
