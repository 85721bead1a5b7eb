"""`python -m callmeback` and the `callmeback` script: hands over to the command line."""

import os
import sys

from callmeback.cli import app


def main() -> None:
    """Run the command line; exit codes are 0 done, 1 failed, 2 wrong usage."""
    fill_streams()
    app.main(prog_name="callmeback")


def fill_streams() -> None:
    """Open what the caller closed of standard input, output and error onto nothing.

    Else the next file or connection would get its number, and Python has None in its place.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            # The lowest number that is free is this one, because those below it are open by now.
            nothing = os.open(os.devnull, os.O_RDWR)
            assert nothing == number, "the streams are filled before anything else is opened"
            setattr(sys, name, os.fdopen(nothing, mode, encoding="utf-8"))


if __name__ == "__main__":
    main()
