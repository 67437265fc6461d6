"""Tables for a terminal of any width: whole columns are left out where there is no room, never parts of a number."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Fitting:
    """A table that loses its least important columns where the terminal is narrow, and says which."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    expendable: Sequence[Sequence[str]] = ()
    """Groups of columns in the order in which they go; then the others go, from the right. One always stays."""
    left: Sequence[str] = ()
    """Columns that are aligned to the left."""
    elsewhere: str = ""
    """Where the columns that were left out can be read, for the line that names them; no line without."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table with the fewest groups left out that fits."""
        named = {name for group in self.expendable for name in group}
        going = [*self.expendable, *([name] for name in reversed(self.columns) if name not in named)]
        gone: list[str] = []
        table = self._table(gone)
        while console.measure(table, options=options.update(max_width=10_000)).maximum > options.max_width:
            if (spare := len(self.columns) - len(gone) - 1) == 0:
                break
            gone += going.pop(0)[:spare]
            table = self._table(gone)
        yield table
        if gone and self.elsewhere:
            yield Text(f"no room here for {', '.join(n for n in self.columns if n in gone)}: {self.elsewhere}")

    def _table(self, gone: Sequence[str]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        kept = [i for i, name in enumerate(self.columns) if name not in gone]
        for i in kept:
            name = self.columns[i]
            table.add_column(name, justify="left" if name in self.left else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(row[i] for i in kept))
        return table


def titles(paths: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return a column's title for each dotted field: its last part, or all of it where that is taken."""
    last = [path.rpartition(".")[2] for path in paths]
    return [path if name in taken or last.count(name) > 1 else name for path, name in zip(paths, last, strict=True)]
