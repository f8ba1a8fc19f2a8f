"""The tables and plots of docs/performance.md out of rows. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .works import SYSTEMS, WORKS, Group, Work

BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
COLOURS = {
    "twinhull": "#1b6ca8",
    "limit": "#9aa5ad",
    "local": "#c9d1d6",
    "glusterfs": "#d9822b",
    "qemu-mirror": "#8e6bb0",
    "tgt": "#5f9e6e",
}
BAR, GAP, LEFT, RIGHT, WIDE = 16, 10, 110, 90, 720

Row = Mapping[str, Any]


def section(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """What stands between the two marks of the page.

    Args:
        rows: of build/bench.json.
        facts: of the run, see `machine.facts`.
    """
    by_key = {(row["work"], row["system"]): row for row in rows}
    lines = [BEGIN, "", _about(facts), ""]
    for group in Group:
        works = [work for work in WORKS if work.group is group and any(key[0] == work.name for key in by_key)]
        if works:
            lines += [f"### {group.value[0].upper()}{group.value[1:]}", "", *_table(works, by_key), ""]
            lines += (
                [f"![{group.value}](performance-{group.name.lower()}.svg)", ""] if _plotted(group) else []
            )
    return "\n".join([*lines, END])


def replaced(page: str, text: str) -> str:
    """The page with another section of figures.

    Raises:
        ValueError: the page has not both marks.
    """
    if BEGIN not in page or END not in page:
        raise ValueError("the page has no place for figures: it lacks its marks")
    return page[: page.index(BEGIN)] + text + page[page.index(END) + len(END) :]


def plots(rows: Sequence[Row]) -> dict[str, str]:
    """File name -> SVG: bars of median and spread, one block a work."""
    result = {}
    for group in filter(_plotted, Group):
        own = [work for work in WORKS if work.group is group and work.unit != "MiB"]
        blocks = [(work, [row for row in rows if row["work"] == work.name]) for work in own]
        blocks = [(work, found) for work, found in blocks if found]
        if blocks:
            result[f"performance-{group.name.lower()}.svg"] = _svg(blocks)
    return result


def _plotted(group: Group) -> bool:
    return group in (Group.PATH, Group.ISCSI, Group.RESYNC)


def _about(facts: Mapping[str, Any]) -> str:
    text = (
        f"Measured {facts['date']}, {facts['processors']} processors ({facts['processor']}), Linux {facts['kernel']}, "
        f"Python {facts['python']}, commit {facts['commit']}. Load of the machine before the run: {facts['load']:.1f}."
    )
    if facts["busy"]:
        text += (
            "\n\n**The machine was busy with other work: only the ratios of these figures mean something.**"
        )
    return text


def _table(works: Sequence[Work], by_key: Mapping[tuple[str, str], Row]) -> list[str]:
    systems = [name for name in SYSTEMS if any((work.name, name) in by_key for work in works)]
    lines = [
        "| work | unit | " + " | ".join(systems) + " | goal |",
        "|---|---|" + "---:|" * len(systems) + "---|",
    ]
    for work in works:
        cells = [_cell(by_key.get((work.name, name))) for name in systems]
        lines.append(f"| {work.title} (`{work.name}`) | {work.unit} | {' | '.join(cells)} | {work.goal} |")
    return lines


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    low, high = row["spread"]
    return f"{_number(row['median'])} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _svg(blocks: Sequence[tuple[Work, Sequence[Row]]]) -> str:
    parts, at = [], 0
    for work, rows in blocks:
        better = "less is better" if work.less_is_better else "more is better"
        parts.append(_text(0, at + BAR, f"{work.title}, {work.unit} ({better})", bold=True))
        at += BAR + GAP
        top = max(row["spread"][1] for row in rows)
        for row in rows:
            parts += _bar(row, at, top)
            at += BAR + GAP // 2
        at += GAP * 2
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{at}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDE}" height="{at}" fill="white"/>', *parts, "</svg>", ""])


def _bar(row: Row, at: int, top: float) -> list[str]:
    def x(value: float) -> float:
        return round(LEFT + (WIDE - LEFT - RIGHT) * value / top, 1)

    low, high = row["spread"]
    middle = at + BAR / 2
    colour = COLOURS[row["system"]]
    return [
        _text(0, at + BAR - 4, row["system"]),
        f'<rect x="{LEFT}" y="{at}" width="{x(row["median"]) - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<line x1="{x(low)}" y1="{middle}" x2="{x(high)}" y2="{middle}" stroke="black"/>',
        _text(x(high) + 6, at + BAR - 4, _number(row["median"])),
    ]


def _text(x: float, y: float, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}"{weight}>{escape(text)}</text>'
