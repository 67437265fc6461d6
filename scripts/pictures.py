"""Take pictures of a sweep with a real browser: `python scripts/pictures.py OUT DIR [--name exp4]`.

DIR gets leaderboard.png (the saved view in MLflow), run.png (the sweep's own run and its description), model.png (the
registered model) and, where the sweep has a report, report.png. In place of OUT a link to a leaderboard will do, as
`python -m orchestrator.serve` prints it; then there is no report. The browser is Debian's Chromium (apt-get install
chromium), driven through the playwright package; playwright's own browser is never downloaded.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from playwright.sync_api import BrowserContext, Error, Page, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",  # Chromium refuses to run as root with it; the page is our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROWS = ".ag-center-cols-container .ag-row"
"""The table's rows, as ag-grid (MLflow's table) names them; the same rows stand in the pinned part too."""

IN_THE_WAY = ("Close", "Hide banner", "Dismiss", "Got it", "Skip")
"""The buttons, by their exact names, of what MLflow opens over or beside the table on a first visit."""
SERVED_S = 180.0
"""A first start of MLflow takes about 25 s, and more on a busy machine."""
NOTE = "mlflow.note.content"
TRAINING = "workflowType=machine_learning"
"""Keeps MLflow off its GenAI pages."""


@contextmanager
def browser(*, width_px: int = 1600, height_px: int = 900, timeout_s: float = 90.0) -> Iterator[BrowserContext]:
    """Give a browser that has never been anywhere; it and all that it stored are gone at the end."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as profile, sync_playwright() as driver:
        opened = driver.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            viewport={"width": width_px, "height": height_px},
        )
        opened.set_default_timeout(timeout_s * 1000)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def leaderboard_page(
    url: str, *, wait_rows: int = 1, width_px: int = 1600, height_px: int = 900, timeout_s: float = 90.0
) -> Iterator[Page]:
    """Open the link in a browser that has never been here, and give its page once the table stands.

    Waits for at least `wait_rows` rows and closes what is in their way. Raises playwright's Error when the rows do not
    come in time.
    """
    with browser(width_px=width_px, height_px=height_px, timeout_s=timeout_s) as opened:
        page = opened.pages[0] if opened.pages else opened.new_page()
        page.goto(url, wait_until="domcontentloaded")
        page.locator(ROWS).nth(wait_rows - 1).wait_for()
        clear_the_way(page)
        yield page


def clear_the_way(page: Page) -> None:
    """Close banners, pop-ups and side panels, which come some time after the rows, until none is left."""
    quiet_ms, step_ms, since_ms = 1500, 250, 0
    while since_ms < quiet_ms:
        found = False
        for name in IN_THE_WAY:
            for button in page.get_by_role("button", name=name, exact=True).all():
                if button.is_visible():
                    button.click()
                    found = True
        page.wait_for_timeout(step_ms)
        since_ms = 0 if found else since_ms + step_ms


@contextmanager
def served(out: Path) -> Iterator[dict[str, str]]:
    """Serve OUT's MLflow for the block's length; give each sweep's link by its name, the latest changed first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "orchestrator.serve", "--out", str(out), "--port", str(port)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        server = subprocess.Popen(line, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT)
        try:
            end_s, said = time.monotonic() + SERVED_S, ""
            while not re.search("^Ctrl-C", said, re.MULTILINE):
                if server.poll() is not None or time.monotonic() > end_s:
                    raise OSError(f"{out} is not served: {said.strip() or 'no word'}")
                time.sleep(0.1)
                printed.seek(0)
                said = printed.read()
            yield dict(re.findall(r"^(\S.*?) +(http\S+)$", said, re.MULTILINE))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def take_pictures(link: str, report: Path | None, folder: Path) -> list[Path]:
    """Write the pictures of the sweep whose leaderboard the link opens; return them."""
    base, experiment = link.split("/#/", maxsplit=1)[0], re.findall(r"/experiments/(\d+)", link)[0]
    folder.mkdir(parents=True, exist_ok=True)
    taken = []

    def take(page: Page, name: str, *, full_page: bool = False) -> None:
        page.screenshot(path=folder / name, full_page=full_page)
        taken.append(folder / name)

    with leaderboard_page(link) as page:
        take(page, "leaderboard.png")
    run = sweep_run(base, experiment)
    name = run["info"]["run_name"]
    note = next((tag["value"] for tag in run["data"]["tags"] if tag["key"] == NOTE), "")
    with browser() as opened:
        page = opened.new_page()
        page.goto(run_url(base, run))
        page.get_by_text(note.strip("*")[:40] if note else name).first.wait_for()
        clear_the_way(page)
        take(page, "run.png")
        page = opened.new_page()
        page.goto(f"{base}/#/models/{name}?{TRAINING}")
        page.get_by_text("best-dev").first.wait_for()
        clear_the_way(page)
        take(page, "model.png")
        if report is not None and report.is_file():
            page = opened.new_page()
            page.goto(report.resolve().as_uri(), wait_until="load")
            page.wait_for_timeout(2000)  # its figures draw themselves
            take(page, "report.png", full_page=True)
    return taken


def run_url(base: str, run: dict[str, Any]) -> str:
    """Return the link to a run's page."""
    return f"{base}/#/experiments/{run['info']['experiment_id']}/runs/{run['info']['run_id']}?{TRAINING}"


def sweep_run(base: str, experiment: str) -> dict[str, Any]:
    """Return the run of the sweep itself, as MLflow tells it."""
    body = {"experiment_ids": [experiment], "filter": "tags.kind = 'sweep' and tags.stage = 'search'"}
    request = urllib.request.Request(  # noqa: S310  (the person's own server)
        f"{base}/api/2.0/mlflow/runs/search", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: list[dict[str, Any]] = json.load(answer).get("runs", [])
    if not found:
        raise OSError(f"{base}: experiment {experiment} has no run of a sweep")
    return found[0]


def main(
    place: Annotated[str, typer.Argument(metavar="OUT", help="Where sweeps wrote to, or a link to a leaderboard.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the pictures go.")],
    name: Annotated[str | None, typer.Option(help="The sweep; the one that changed last by default.")] = None,
) -> None:
    """Take the pictures of a sweep at 1600 x 900. Exit codes: 0 done; 1 a page did not come; 2 no Chromium or sweep."""
    if not CHROMIUM.is_file():
        print(f"no Chromium at {CHROMIUM}: apt-get install --no-install-recommends chromium", file=sys.stderr)
        raise typer.Exit(2)
    try:
        if place.startswith("http"):
            taken = take_pictures(place, None, folder)
        else:
            with served(Path(place)) as links:
                sweep = name or next(iter(links), "")
                if sweep not in links:
                    print(f"{place}: no sweep {sweep!r}; there are: {', '.join(links) or 'none'}", file=sys.stderr)
                    raise typer.Exit(2)
                taken = take_pictures(links[sweep], Path(place) / sweep / "report.html", folder)
    except (Error, OSError) as error:
        print(f"no pictures of {place}: {str(error).splitlines()[0]}", file=sys.stderr)
        raise typer.Exit(1) from None
    for path in taken:
        print(path)


if __name__ == "__main__":
    typer.run(main)
