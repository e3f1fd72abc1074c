"""The ``bison`` command."""

from __future__ import annotations

import typer

from cli import local

app = typer.Typer(
    help="BISON: which species in the United States are native, introduced or invasive, and where.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(local.app, name="local")


@app.callback()
def _bison() -> None:
    """BISON: which species in the United States are native, introduced or invasive, and where."""


def main() -> None:
    """Run the command that the arguments name; its exit code is the process's."""
    app()


if __name__ == "__main__":
    main()
