"""``bison local``: the workflow on this machine."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.screen import make_screen
from local.run import BusyError, MonthFailedError, OptionError, OtherInputsError, RunOptions, run_month
from workflow.month import Month

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(help="Run the workflow on this machine, without an AWS account.", no_args_is_help=True)


@app.callback()
def _local() -> None:
    """Run the workflow on this machine, without an AWS account."""


def _month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def this_month() -> Month:
    """The month that it is now, in UTC."""
    now = datetime.now(UTC)
    return Month(now.year, now.month)


INPUT, RESULT = "Input (each has a default)", "Result"


@app.command()
def run(
    month: Annotated[
        Month | None,
        typer.Option(
            parser=_month, metavar="YYYY-MM", help="The month to run.", show_default="the current month, in UTC"
        ),
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the Parquet files of GBIF's monthly snapshot (or with its occurrence.parquet/). "
            "They are read where they lie, whatever their size.",
            show_default="a generated sample, and the month before it",
            rich_help_panel=INPUT,
        ),
    ] = None,
    riis: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="The US Register of Introduced and Invasive Species, version 1 or 2.",
            show_default="the sample's, of real names",
            rich_help_panel=INPUT,
        ),
    ] = None,
    counties: Annotated[
        Path | None,
        typer.Option(
            metavar="SHP",
            help="Census boundary file of the counties, of 2016 or later (.shp; .shx, .dbf and .prj beside it).",
            show_default="the Census Bureau's of 2016, 1:500,000",
            rich_help_panel=INPUT,
        ),
    ] = None,
    aiannh: Annotated[
        Path | None,
        typer.Option(
            metavar="SHP",
            help="Census boundary file of American Indian, Alaska Native and Native Hawaiian areas.",
            show_default="generated areas",
            rich_help_panel=INPUT,
        ),
    ] = None,
    gbif: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A server that speaks GBIF's API, to resolve the register's names.",
            show_default="https://api.gbif.org, or a local server for the sample",
            rich_help_panel=INPUT,
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The --out folder of an earlier month, to compare with.",
            show_default="the sample's month before; else none",
            rich_help_panel=INPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the results: report.html, manifest.json, and each table as CSV and Parquet. "
            "What a later run needs to go on lies in .bison/ in it.",
            show_default="out/<month>, like out/2026_10_01",
            rich_help_panel=RESULT,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run a month again that is done.", rich_help_panel=RESULT)
    ] = False,
    docker: Annotated[
        bool,
        typer.Option(
            "--docker", help="Run s1 and s8 in the task image, built from this checkout.", rich_help_panel=INPUT
        ),
    ] = False,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --docker: a task image that Docker has already.",
            show_default="built from this checkout",
            rich_help_panel=INPUT,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show errors and the last line only.", rich_help_panel=RESULT)
    ] = False,
) -> None:
    """Run a whole month on this machine: from GBIF's snapshot to the report.

    The code is the one that runs in AWS: the Pulumi program's event rules, roles and templates, the Lambda
    functions, the Redshift SQL and the tasks. Nothing is sent to AWS, and no account is needed. Without options it
    runs a generated sample of 60,000 occurrences on the real counties, and the month before it.

    A month that is done is not run again; one that stopped goes on where it stopped.

    **Examples**

    - `bison local run`

    - `bison local run --month 2026-10 --snapshot gbif/2026-10 --riis US-RIIS_MasterList.csv`

    - `bison local run --month 2026-11 --snapshot gbif/2026-11 --previous out/2026_10_01`

    **Exit codes**

    - 0: the month is done, now or before

    - 1: a step failed; its name, the reason and what to do are shown

    - 2: an option is wrong

    - 130: interrupted; the same command goes on
    """
    month = month or this_month()
    options = RunOptions(
        month=month,
        out=out or Path("out") / month.name,
        snapshot=snapshot,
        riis=riis,
        counties=counties,
        aiannh=aiannh,
        gbif=gbif,
        previous=previous,
        force=force,
        docker=docker or image is not None,
        image=image,
    )
    # Whoever ends the process gently (make, a service manager) gets the same orderly end as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with make_screen(quiet=quiet) as screen:
        try:
            result = run_month(options, screen.tell)
        except OptionError as error:
            screen.problem(str(error))
            raise typer.Exit(USAGE) from error
        except (BusyError, OtherInputsError) as error:
            screen.problem(str(error))
            raise typer.Exit(FAILED) from error
        except MonthFailedError as error:
            screen.failure(error)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            screen.problem(f"Interrupted. The same command goes on where {month} stopped.")
            raise typer.Exit(INTERRUPTED) from error
        screen.result(result)
