"""May one look after every fresh seed? Equal pairs, two errors of any proportion: `python -m benchmarks.looks`.

A difference of S seeds is an error that the examples give all of them, of standard deviation 1, and the seeds' own.
"Plain" is the same rule with Satterthwaite's degrees of freedom as they stand; evidence/confirm.py says why it is not
taken. docs/honesty.md has what came of it.
"""

from typing import Annotated
from unittest.mock import patch

import numpy as np
import typer

from evidence import confirm as rule
from evidence.confirm import KnownNoise, Outcome, confirm

RATIOS = (0.1, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Standard deviation of one seed's difference, in the examples'."""
LOOKS = 10

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(pairs: Annotated[int, typer.Option(min=100, help="Confirmations of each kind.")] = 10_000) -> None:
    """Say how often a pair that is equal in truth is ever called better or worse, in ten looks at alpha 0.05."""
    print(f"{pairs:,} equal pairs, {LOOKS} looks: ever claimed\nseeds / examples  known degrees   plain   bounded")
    for ratio in RATIOS:
        for degrees in (0, 14):
            bounded = claimed(ratio, degrees, pairs)
            with patch.object(rule, "upper_bound", lambda variance, _degrees: variance):
                without = claimed(ratio, degrees, pairs)
            print(f"{ratio:16}  {degrees:13}  {without:6.1%}  {bounded:7.1%}")


def claimed(ratio: float, degrees: int, pairs: int) -> float:
    """Return the share of equal pairs of which some look claims a difference."""
    rng = np.random.default_rng((int(10 * ratio), degrees))
    wrong = 0
    for _ in range(pairs):
        differences = rng.normal() + rng.normal(0, ratio, LOOKS)
        known = (
            KnownNoise(variance=ratio**2 / 2 * rng.chisquare(degrees) / degrees, degrees=degrees) if degrees else None
        )
        said = (confirm(differences[:n], known=known, example_error=1.0).outcome for n in range(1, LOOKS + 1))
        wrong += any(outcome is not Outcome.UNDECIDED for outcome in said)
    return wrong / pairs


if __name__ == "__main__":
    app()
