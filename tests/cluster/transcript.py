"""What a walk over real parts took down: a line for each thing that happened, and whether what was expected holds."""

import os
import platform
import re
import time
from pathlib import Path


class Transcript:
    """Lines with the seconds since the start; what did not hold is among the failures."""

    def __init__(self):
        """Begin now."""
        self._began, self.lines, self.failures = time.monotonic(), [], []

    def say(self, text):
        """Take a line down."""
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self.lines.append(line)
        print(line, flush=True)

    def expect(self, what, *, holds):
        """Say whether something holds."""
        self.say(f"{'ok  ' if holds else 'FAIL'} {what}")
        if not holds:
            self.failures.append(what)


def machine():
    """Return the date and the machine, for the head of a page of results."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{time.strftime('%F')}, {os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}"


def write_page(path, title, command, lines):
    """Write a transcript as a page for docs/results; to no path, nothing."""
    if path is not None:
        on = f"{machine()}, shared with other jobs. Command: `{command}`."
        path.write_text("\n".join([f"# {title}", "", on, "", "```", *lines, "```", ""]), encoding="utf-8")
