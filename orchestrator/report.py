"""`python -m orchestrator.report exp1 exp4`: the study's table of each sweep in Markdown, as an image, and its report.

Several sweeps are compared after that: a table with a row a sweep, and of two whether the first's ranking holds for the
second.
Reads what lies in OUT/NAME and nothing else; a finished sweep has its report.html already, which is drawn anew here.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.named import require_sweep
from orchestrator.options import Debug, one_line_errors

if TYPE_CHECKING:
    from orchestrator.paths import SweepPaths

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Finished sweeps.")],
    out: Annotated[Path, typer.Option(help="Where results are.")] = Path("runs"),
    debug: Debug = False,
) -> None:
    """Print each sweep's table in Markdown, and draw it and the sweep's report; then compare several sweeps."""
    with one_line_errors(debug=debug):
        _report(list(dict.fromkeys(names)), out.resolve())


def _report(names: list[str], out: Path) -> None:
    """Read all sweeps before anything is printed: what is wrong with any is told at once."""
    from orchestrator.errors import collected, refuse

    problems: list[str] = []
    for name in names:
        collected(partial(require_sweep, name, out), problems)
    refuse(problems)

    from orchestrator import show
    from orchestrator.console import say
    from orchestrator.finished import read_finished
    from orchestrator.folders import private_files
    from orchestrator.paths import SweepPaths
    from orchestrator.report_page import draw_report
    from orchestrator.study_table import markdown, study_table
    from orchestrator.sweeps_table import sweeps_table
    from orchestrator.table_image import write_image

    read = [collected(partial(read_finished, SweepPaths(out, name)), problems) for name in names]
    refuse(problems)
    sweeps = [sweep for sweep in read if sweep is not None]
    with private_files():
        for sweep in sweeps:
            table = study_table(sweep)
            say(f"{markdown(table)}\n")
            write_image(table, sweep.paths.table_image)
            draw_report(sweep.paths, sweep.board, show.majority_score(sweep.plan), sweep=sweep)
            say(f"table   {sweep.paths.table_image}\nreport  {sweep.paths.report}\n")
    if len(sweeps) > 1:
        say(f"{markdown(sweeps_table(sweeps))}\n")
    if len(sweeps) == 2:
        say(_ranking(*(sweep.paths for sweep in sweeps)))


def _ranking(first: "SweepPaths", second: "SweepPaths") -> str:
    """Return whether the first sweep's ranking holds for the second; else why that cannot be said."""
    from orchestrator.against import against
    from orchestrator.errors import SweepError

    try:
        return against(first, second).markdown
    except SweepError as error:
        return f"No ranking is compared: {error}."


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.report")
