"""The verbs. torch is imported only by those that compute, so that help and mistakes are answered at once."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from protege.cli import known
from protege.cli.bench import bench, doctor
from protege.cli.completion import Describing
from protege.cli.places import DESCRIBED, OPEN, DeviceOption, QuietOption, RunsOption, ThreadsOption, place_of
from protege.cli.report import look as look_inside
from protege.cli.report import report
from protege.cli.runs import keeping, look
from protege.cli.runs.comparing import compare
from protege.cli.runs.listing import list_runs
from protege.cli.runs.remember import app as remember_commands
from protege.cli.ship.choose import choose
from protege.cli.ship.export import export
from protege.cli.ship.measure import measure
from protege.cli.ship.predict import predict
from protege.cli.ship.push import push
from protege.cli.spelling import spelled
from protege.cli.study import app as study_commands
from protege.cli.train import train
from protege.errors import ProtegeError, Stopped, in_a_line, out_of_memory, quoted
from protege.runs.display import out
from protege.runs.process.started import refuse_several

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Distil big image classifiers into small ones worth shipping, with honest evidence that it helped.",
    epilog="Start with `protege demo`. Fields of a run: `protege train --help`.",
)

BY_SEVERAL = {"train", "list", "show", "models", "methods", "data", "compare", "doctor"}  # one run, or only looked at
DEBUG = "PROTEGE_DEBUG"  # in the environment: tracebacks are printed
DEFECT = "This is a mistake in protege itself"
AT_WORK = threading.Lock()

# what typer raises for a mistyped command line; it has no name of its own for it
UsageMistake: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> None:
    """Every mistake of the user is one clear line and exit code 2; a stop is 130, and an answer that could not be written 1."""
    if not AT_WORK.acquire(blocking=False):
        raise RuntimeError("protege is at work here already: a file that it imports cannot begin it again")
    try:
        _answer()
    finally:
        AT_WORK.release()


def _answer() -> None:
    _open_streams()
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
        raise SystemExit(code)
    except ProtegeError as error:
        if DEBUG in os.environ:
            raise
        _fail(spelled(str(error)), 2)
    except UsageMistake as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            raise SystemExit(2) from None
        _fail(in_a_line(error.format_message()), error.exit_code)
    except typer.Abort:
        _fail("stopped", 130)
    except Stopped as stopped:
        _fail(str(stopped), 130)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:  # who read it has enough
        _write_no_more()
        raise SystemExit(1) from None
    except Exception as error:
        if DEBUG in os.environ:
            raise
        if isinstance(error, OSError) and error.filename is None and _is_full(sys.stdout):
            _write_no_more()
            _fail(f"the answer could not be written to the standard output: {error.strerror}", 1)
        _fail(in_a_line(what_failed(error)), 2)


def _open_streams() -> None:
    """One that was closed by whoever began this process: what happens is told to nobody, and an answer cannot be written."""
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, mode), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that this terminal cannot print


def what_failed(error: Exception) -> str:
    """Of the machine (a folder that may not be written to, a full disk, memory), or of protege itself."""
    if isinstance(error, OSError) and error.strerror:
        about = f"{error.filename}: " if error.filename is not None else ""
        return f"{about}{error.strerror}. Nothing that was finished is lost: put it right, and give the same command again."
    if out_of_memory(error):
        return "There is not enough memory for this. Choose smaller batches, images or networks, or end other programs."
    traced = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{DEFECT} ({type(error).__name__}: {quoted(str(error), 200)} at {Path(traced.filename).name}:{traced.lineno}). "
        f"Please report it, with what {DEBUG}=1 in front of the same command prints."
    )


def _is_full(stream: TextIO) -> bool:
    """Whether not even an empty line can be written: rich loses what it could not."""
    try:
        os.write(stream.fileno(), b"\n")
    except io.UnsupportedOperation:  # no file of the system: a notebook's, say
        return False
    except OSError:
        return True
    return False


def _write_no_more() -> None:
    """Else Python would try again as it ends, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command() -> None:
    """What `protege` runs: `main`, and then the end of the process at once. Taking torch apart would be half a second of its own."""
    try:
        main()
    except SystemExit as ended:
        if threading.active_count() > 1:
            raise
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # a full disk, or nobody who reads
                code = code or 1
        os._exit(code)


def _fail(message: str, code: int) -> None:
    with contextlib.suppress(OSError):  # nobody reads, or a full disk
        print(f"protege: {message}", file=sys.stderr)
    raise SystemExit(code)


def demo(
    runs: RunsOption = Path("runs/demo"),
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    full: Annotated[bool, typer.Option("--full", help="train the teacher as well, some minutes more")] = False,
) -> None:
    """Students alone and taught, on bundled images, in minutes: an honest comparison, and a file for a device."""
    place = place_of(runs=runs, device=device, threads=threads, quiet=quiet)
    from protege.cli.demo import demonstrate

    demonstrate(place, out, full)


described = {"context_settings": DESCRIBED, "add_help_option": False}
app.command(cls=Describing, short_help="Train one network: alone, or taught.", **described)(train)
app.command(context_settings=OPEN)(look.evaluate)
app.command("list")(list_runs)
app.command()(look.show)
app.command("look")(look_inside)
app.command("compare", context_settings={"ignore_unknown_options": True})(compare)
app.command()(keeping.remove)
app.command()(keeping.pack)
app.command()(keeping.unpack)
app.command("models", short_help="Networks of our own, or any one: parameters, multiply-adds, stages.", **described)(
    known.models
)
app.command()(known.methods)
app.command("data", short_help="What a dataset holds and how it is split.", **described)(known.show_data)
app.command()(predict)
app.command()(export)
app.command()(push)
app.command()(measure)
app.command()(choose)
app.command()(demo)
app.command()(doctor)
app.add_typer(study_commands, name="study")
app.command()(report)
app.command()(bench)
app.add_typer(remember_commands, name="remember")


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="run methods from files that a run or a YAML file names")
    ] = False,
) -> None:
    if context.invoked_subcommand and context.invoked_subcommand not in BY_SEVERAL:
        refuse_several(f"`protege {context.invoked_subcommand}`", os.environ)
    if trust_code:
        from protege.data.outside import consent

        consent.trust_all()
    if show_version:
        from protege import __version__

        print(__version__)
        raise typer.Exit
