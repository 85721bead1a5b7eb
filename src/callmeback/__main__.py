"""`python -m callmeback` and the `callmeback` script: hands over to the command line."""

from callmeback.cli import app


def main() -> None:
    """Run the command line; exit codes are 0 done, 1 failed, 2 wrong usage."""
    app.main(prog_name="callmeback")


if __name__ == "__main__":
    main()
