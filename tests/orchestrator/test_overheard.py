"""What is written to standard error below Python, while something is tried."""

import os

import pytest

from orchestrator.overheard import Overheard


def test_what_is_written_meanwhile_is_shown_where_all_went_well(capfd):
    """In one piece, at the end; it is known as text, too."""
    with Overheard() as heard:
        os.write(2, b"from below\n")
        assert capfd.readouterr().err == ""

    assert capfd.readouterr().err == "from below\n"
    assert heard.text == "from below\n"


def test_where_it_fails_nobody_sees_it_but_who_asks(capfd):
    """An error's own line is what a person reads."""
    heard = Overheard()
    with pytest.raises(ValueError, match="no"), heard:
        _fail()

    assert heard.text == "twenty lines of C++\n"
    assert capfd.readouterr().err == ""


def test_it_may_end_before_the_block_does(capfd):
    """Who has to leave the process says so where a person sees it."""
    with Overheard() as heard:
        os.write(2, b"before\n")
        heard.end()
        os.write(2, b"last words\n")
        assert capfd.readouterr().err == "last words\n"


def _fail():
    os.write(2, b"twenty lines of C++\n")
    raise ValueError("no")
