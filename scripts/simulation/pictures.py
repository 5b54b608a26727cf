"""Two kinds of picture, as SVG: lines over time, and bars side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "lines"]

COLOURS = ("#2f6f9f", "#d98032", "#5a9a5a", "#9a5a8f")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 320, 70, 48, 20, 44
FONT = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], across: str) -> str:
    """Each series is a list of points; both axes begin at 0."""
    right = max(x for points in series.values() for x, _ in points) or 1.0
    top = _round_up(max(y for points in series.values() for _, y in points))
    parts = [_grid(top), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "middle")]
    for step in range(6):
        parts.append(_text(_across(step / 5), HEIGHT - BOTTOM + 16, f"{right * step / 5:,.0f}", "middle"))
    for colour, points in zip(COLOURS, series.values(), strict=False):
        path = " ".join(f"{_across(x / right):.1f},{_up(y / top):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _picture(title, list(series), parts)


def bars(title: str, groups: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Each group holds a bar for each name, the names being the same in all."""
    names = list(next(iter(groups.values())))
    top = _round_up(max(value for group in groups.values() for value in group.values()))
    parts, room = [_grid(top)], (WIDTH - LEFT - RIGHT) / len(groups)
    width = min(60.0, room * 0.8 / len(names))
    for number, (group, values) in enumerate(groups.items()):
        middle = LEFT + room * (number + 0.5)
        parts.append(_text(middle, HEIGHT - BOTTOM + 18, group, "middle"))
        for place, (colour, value) in enumerate(zip(COLOURS, values.values(), strict=False)):
            x, y = middle + (place - len(names) / 2) * width, _up(value / top)
            height = HEIGHT - BOTTOM - y
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 3:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
            parts.append(_text(x + width / 2 - 1, y - 4, f"{value:,.3g}", "middle"))
    return _picture(f"{title} ({unit})", names if len(names) > 1 else [], parts)


def _picture(title: str, names: Sequence[str], parts: Sequence[str]) -> str:
    head = [f'<text x="{LEFT}" y="20" {FONT} font-weight="bold">{escape(title)}</text>']
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        x = LEFT + number * 150
        head.append(f'<rect x="{x}" y="29" width="10" height="10" fill="{colour}"/>' + _text(x + 15, 38, name, "start"))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    body = "\n".join([*head, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<rect {size} fill="#fff"/>\n{body}\n</svg>\n'


def _grid(top: float) -> str:
    rows = []
    for step in range(5):
        y = _up(step / 4)
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        rows.append(_text(LEFT - 8, y + 4, f"{top * step / 4:,.10g}", "end"))
    return "\n".join(rows)


def _round_up(value: float) -> float:
    """The next number that divides well by four."""
    unit = 4 * 10.0 ** (len(f"{max(value, 1e-9) / 4:.0f}") - 1) if value >= 4 else 0.04
    while unit * 5 > value * 2 and unit > 0.04:
        unit /= 2
    return unit * max(1, -(-(value * 1.08) // unit))


def _across(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT}>{escape(text)}</text>'
