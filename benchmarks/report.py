"""Turns the figures of `benchmarks.speed` into a table and a picture.

    python -m benchmarks.report figures.json docs/speed.md

Writes the page and, beside it, `speed.svg`: one bar for each mover, as a part of the quickest in its group.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.speed import OURS, ROWS, RUNNING, Row

BAR, GAP, LEFT, WIDTH = 14, 26, 250, 900  # pixels
OUR_COLOUR, OTHER_COLOUR = "#0a7d5a", "#9aa7b4"

Figures = list[dict[str, Any]]


def described(row: Row) -> str:
    work = f"{row.files:,} x {row.size // 1024} KiB" if row.many else f"{row.size // 1024**2:,} MiB"
    return f"{work}, {row.line or 'loopback'}"


def value(figure: dict[str, Any]) -> float:
    return float(figure["files_s"] or figure["mbit_s"])


def shown(figure: dict[str, Any]) -> str:
    if figure["error"]:
        return "did not finish"
    speed = f"{figure['files_s']:,.0f} files/s" if figure["files_s"] else f"{figure['mbit_s']:,.0f} Mbit/s"
    return f"below {speed}" if figure.get("stopped") else speed


def groups(figures: Figures) -> list[tuple[Row, str, Figures]]:
    rows = {row.name: row for row in ROWS}
    measured = {one["row"]: (int(one["files"]), int(one["size"])) for one in figures}
    for name, (files, size) in measured.items():
        rows[name] = replace(rows[name], files=files, size=size)
    keyed = groupby(figures, key=lambda one: (one["row"], one["direction"]))
    return [(rows[name], direction, list(found)) for (name, direction), found in keyed]


def table(figures: Figures) -> list[str]:
    lines = [
        "| work | way | mover | speed | to the best peer | CPU s/GB | to reach |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, direction, found in groups(figures):
        best = max((value(one) for one in found if one["mover"] not in (OURS, RUNNING)), default=0.0)
        for number, one in enumerate(found):
            ours, first = one["mover"] in (OURS, RUNNING), number == 0
            ratio = f"{value(one) / best:.2f} x" if ours and best else ""
            cells = (
                described(row) if first else "",
                direction if first else "",
                f"**{one['mover']}**" if ours else one["mover"],
                shown(one),
                ratio,
                "" if one.get("stopped") else f"{one['cpu_s_per_gb']:.1f}",
                row.to_reach if first else "",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def picture(figures: Figures) -> str:
    """An SVG with one group of bars for each row and way."""
    parts: list[str] = []
    top = GAP
    for row, direction, found in groups(figures):
        parts.append(f'<text x="8" y="{top}" class="t">{escape(described(row))}, {direction}</text>')
        largest = max(value(one) for one in found) or 1.0
        for one in found:
            top += BAR + 2
            width = max(1.0, value(one) / largest * (WIDTH - LEFT - 130))
            colour = OUR_COLOUR if one["mover"] in (OURS, RUNNING) else OTHER_COLOUR
            parts += [
                f'<text x="{LEFT - 8}" y="{top + BAR - 5}" text-anchor="end">{escape(one["mover"])}</text>',
                f'<rect x="{LEFT}" y="{top - 2}" width="{width:.0f}" height="{BAR}" fill="{colour}"/>',
                f'<text x="{LEFT + width + 6:.0f}" y="{top + BAR - 5}">{escape(shown(one))}</text>',
            ]
        top += GAP + BAR
    style = "text{font:11px sans-serif;fill:#333}.t{font-weight:bold;font-size:12px}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">'
    title = "<title>Speeds of connect-helper and its peers</title>"
    background = f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>'
    return "\n".join([head, title, f"<style>{style}</style>", background, *parts, "</svg>", ""])


def page(result: dict[str, Any]) -> str:
    seen = result["machine"]
    runs = max((one["runs"] for one in result["figures"]), default=0)
    facts = [
        f"Measured with `python -m benchmarks.speed`, medians of {runs} run(s), on {seen['cores']} cores of",
        f"{seen['cpu']}, {seen['system']}, Python {seen['python']}, TCP {seen['tcp']} on the lines, load",
        f"at the end {seen['load']}. A peer clearly slower than another ran once, and was stopped where",
        f'it took too long: "below" is what it cannot have reached. Peers: {seen["peers"]}.',
    ]
    picture_line = "![Bars of the speeds in the table below](speed.svg)"
    how = "How to repeat it: [benchmarks/README.md](../benchmarks/README.md)."
    return "\n".join(["# Speed", "", *facts, how, "", picture_line, "", *table(result["figures"]), ""])


def main() -> None:
    figures, target = Path(sys.argv[1]), Path(sys.argv[2])
    result = json.loads(figures.read_text(encoding="utf-8"))
    target.write_text(page(result), encoding="utf-8")
    target.with_name("speed.svg").write_text(picture(result["figures"]), encoding="utf-8")


if __name__ == "__main__":
    main()
