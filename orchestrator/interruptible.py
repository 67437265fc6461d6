"""What every command that runs trials does with signals and private files, and the line that continues it."""

import shlex
import sys
from collections.abc import Callable

from rich.console import Console

from orchestrator import errors
from orchestrator.console import console as console_for
from orchestrator.folders import private_files
from orchestrator.redaction import redacted
from orchestrator.signals import Signals


def interruptible(module: str, work: Callable[[Console, Signals], int], *, as_json: bool, quiet: bool) -> int:
    """Do the work of `python -m module` and return its exit code, or that it was asked to stop and has saved itself."""
    console = console_for(stderr=as_json, quiet=quiet)
    words = f"ended at once; what was saved last stays. The same command continues:\n  {same_command(module)}"
    with private_files(), Signals(last_words=words) as signals:
        try:
            return work(console, signals)
        except (KeyboardInterrupt, SystemExit):  # ray.init answers a signal by its own handler, which raises the latter
            if not signals.asked:
                raise
            return stopped(module, console)


def stopped(module: str, console: Console) -> int:
    """Say that the work was stopped and how it goes on; return the exit code."""
    console.print(f"stopped; nothing is lost. The same command continues:\n  {same_command(module)}", soft_wrap=True)
    return errors.INTERRUPTED


def same_command(module: str) -> str:
    """Return the command line that continues this one: --new would begin afresh."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--new"]
    return redacted(shlex.join(["python", "-m", module, *arguments]))
