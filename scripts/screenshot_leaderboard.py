"""Take a picture of a leaderboard: `python scripts/screenshot_leaderboard.py URL OUT.png [--wait-rows N]`.

URL is a link that `python -m orchestrator.serve` prints. The browser is Debian's Chromium (apt-get install
chromium), driven through the playwright package; playwright's own browser is never downloaded.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Error, Page, sync_playwright

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


@contextmanager
def leaderboard_page(
    url: str, *, wait_rows: int = 1, width_px: int = 1600, height_px: int = 900, timeout_s: float = 90.0
) -> Iterator[Page]:
    """Open the link in a browser that has never been here, and give its page once the table stands.

    Waits for at least `wait_rows` rows and closes what is in their way. The browser and all it stored are
    gone at the end. Raises playwright's Error when the rows do not come in time.
    """
    with tempfile.TemporaryDirectory(prefix="leaderboard-") as profile, sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            viewport={"width": width_px, "height": height_px},
        )
        try:
            page = browser.pages[0] if browser.pages else browser.new_page()
            page.set_default_timeout(timeout_s * 1000)
            page.goto(url, wait_until="domcontentloaded")
            page.locator(ROWS).nth(wait_rows - 1).wait_for()
            _clear_the_way(page)
            yield page
        finally:
            browser.close()


def _clear_the_way(page: Page) -> None:
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


def main(
    url: Annotated[str, typer.Argument(help="The link to a leaderboard.")],
    picture: Annotated[Path, typer.Argument(help="The PNG to write.")],
    wait_rows: Annotated[int, typer.Option(min=1, help="How many rows to wait for.")] = 1,
) -> None:
    """Take a picture of a leaderboard at 1600 x 900. Exit codes: 0 done; 1 no such rows; 2 no Chromium."""
    if not CHROMIUM.is_file():
        print(f"no Chromium at {CHROMIUM}: apt-get install --no-install-recommends chromium", file=sys.stderr)
        raise typer.Exit(2)
    picture.parent.mkdir(parents=True, exist_ok=True)
    try:
        with leaderboard_page(url, wait_rows=wait_rows) as page:
            page.screenshot(path=picture)
    except Error as error:
        print(f"no {wait_rows} rows at {url}: {error.message.splitlines()[0]}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(picture)


if __name__ == "__main__":
    typer.run(main)
