"""The study's table as an image, set as in print: three rules, no lines between columns, the best of a column bold."""

import textwrap
from io import BytesIO
from itertools import accumulate
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from model.files import write_bytes
from orchestrator.study_table import StudyTable

ROWS = 50
"""So many are drawn at most: what nobody can read is left to the report."""
DOTS_PER_INCH = 200
PT_PER_INCH = 72
TEXT_PT, TITLE_PT, NOTE_PT = 9.0, 11.0, 7.5
LINE_PT = 17.0
"""A row's height."""
GAP_PT, MARGIN_PT = 16.0, 16.0
"""Between two columns, and around it all."""
HEADER_CHARS = 12
"""A longer title of a column is broken at its spaces."""
INK, FAINT, TINT = "#1f2933", "#5f6b76", "#eef2f6"
FONT = "DejaVu Sans"
"""Comes with matplotlib: the same picture on every machine."""
_RULER = RendererAgg(1, 1, PT_PER_INCH)
"""Measures texts; nothing is drawn on it."""


def write_image(table: StudyTable, path: Path) -> None:
    """Draw the table into a PNG file, whole or not at all."""
    content = BytesIO()
    figure = draw(table.first(ROWS))
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    write_bytes(path, content.getvalue())


def draw(table: StudyTable) -> Figure:
    """Return the table as a figure as large as it needs to be."""
    headers = [textwrap.wrap(column, HEADER_CHARS, break_long_words=False) for column in table.columns]
    widths = [
        max(_width(text, TEXT_PT, bold=True) for text in (*header, *(row[place] for row in table.rows)))
        for place, header in enumerate(headers)
    ]
    lefts = [MARGIN_PT, *accumulate((width + GAP_PT for width in widths), initial=MARGIN_PT)][1:-1]
    width = lefts[-1] + widths[-1] + MARGIN_PT
    chars = int((width - 2 * MARGIN_PT) / _width("n", NOTE_PT))
    title = textwrap.wrap(table.title, int((width - 2 * MARGIN_PT) / _width("n", TITLE_PT, bold=True)))
    notes = [line for note in table.notes for line in textwrap.wrap(note, chars)]
    head_pt = max(map(len, headers)) * 12.0
    height = 2 * MARGIN_PT + len(title) * 15 + 10 + head_pt + 12 + len(table.rows) * LINE_PT + 14 + len(notes) * 11
    page = _Page(width, height)
    y = MARGIN_PT
    for line in title:
        y += 15
        page.text(MARGIN_PT, y - 4, line, TITLE_PT, bold=True)
    y += 10
    page.rule(y, 1.2)
    for place, header in enumerate(headers):
        for above, line in enumerate(reversed(header)):
            page.cell(table, place, lefts[place], widths[place], y + head_pt + 2 - 12 * above, line, colour=FAINT)
    y += head_pt + 8
    page.rule(y, 0.7)
    y += 3
    for number, row in enumerate(table.rows):
        if number == table.baseline:
            page.tint(y, LINE_PT)
        for place, text in enumerate(row):
            bold = (number, place) in table.best
            page.cell(table, place, lefts[place], widths[place], y + LINE_PT - 5.5, text, bold=bold)
        y += LINE_PT
    y += 3
    page.rule(y, 1.2)
    for line in notes:
        y += 11
        page.text(MARGIN_PT, y + 2, line, NOTE_PT, colour=FAINT)
    return page.figure


def _width(text: str, size_pt: float, *, bold: bool = False) -> float:
    """Return the width of a text in points."""
    font = FontProperties(family=FONT, weight="bold" if bold else "normal", size=size_pt)
    width, _, _ = _RULER.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


class _Page:
    """A sheet that is measured in points from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        """Begin with nothing on it."""
        self._width, self._height = width, height
        self.figure = Figure(figsize=(width / PT_PER_INCH, height / PT_PER_INCH), facecolor="white")
        FigureCanvasAgg(self.figure)

    def text(self, x: float, y: float, text: str, size_pt: float, *, bold: bool = False, colour: str = INK) -> None:
        """Write a line that begins at x and stands on y."""
        self._write(x, y, text, size_pt, "left", bold=bold, colour=colour)

    def cell(
        self, table: StudyTable, column: int, x: float, width: float, y: float, text: str, *, bold: bool = False,
        colour: str = INK,
    ) -> None:  # fmt: skip
        """Write a cell of a column that begins at x and is so wide."""
        left = column in table.left
        self._write(x if left else x + width, y, text, TEXT_PT, "left" if left else "right", bold=bold, colour=colour)

    def rule(self, y: float, width_pt: float) -> None:
        """Draw a line across the table."""
        across = [MARGIN_PT / self._width, 1 - MARGIN_PT / self._width]
        self.figure.add_artist(Line2D(across, [1 - y / self._height] * 2, color=INK, linewidth=width_pt))

    def tint(self, y: float, height: float) -> None:
        """Lay a faint ground under a row."""
        corner = ((MARGIN_PT - 6) / self._width, 1 - (y + height) / self._height)
        size = (1 - 2 * (MARGIN_PT - 6) / self._width, height / self._height)
        self.figure.add_artist(Rectangle(corner, *size, color=TINT, linewidth=0, zorder=-1))

    def _write(self, x: float, y: float, text: str, size_pt: float, side: str, *, bold: bool, colour: str) -> None:
        self.figure.text(
            x / self._width, 1 - y / self._height, text, fontsize=size_pt, family=FONT, color=colour,
            weight="bold" if bold else "normal", horizontalalignment=side, verticalalignment="baseline",
            parse_math=False,
        )  # fmt: skip
