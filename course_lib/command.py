"""What both editions of the ``course`` command do around a verb: one sentence for all that can go wrong."""

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from course_lib.exercises import UsageError, need_asserts
from course_lib.machine import install

Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Wrong usage gets one sentence and exit status 2."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` shows what it takes\n")


def carry_out(parser: Parser, argv: Sequence[str] | None, run: Run, *, extra: str = "course") -> int:
    """Parse ``argv`` (None: the command line) and run the verb; the exit status.

    ``extra`` holds the packages that the command may need.
    """
    speak_utf8()
    arguments = parser.parse_args(argv)
    try:
        if argv is None and not __debug__:
            return with_asserts()
        need_asserts()
        status = run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough: `course where 16 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return 1
    except UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        print(f"{parser.prog}: {sys.executable} has no {package}; {install(extra)}", file=sys.stderr)
    return 2


def speak_utf8() -> None:
    """A pipe on Windows speaks a code page that has no ✓."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def with_asserts() -> int:
    """The same command once more, by a Python that keeps asserts: what judges consists of them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
    command = [sys.executable, "-m", "course_lib.cli", *sys.argv[1:]]
    return subprocess.run(command, env=environment).returncode
