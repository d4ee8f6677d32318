"""Errors that a user can meet, with the exit code of each. Open this to add an error.

Every message is one sentence: the value found, the value expected, the place, and the remedy.
Each class also derives from the matching builtin exception, so that callers can catch it without
importing this package.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def without_passwords(text: str) -> str:
    """Return a text without the users and passwords in addresses of stores."""
    # A password may hold slashes, quotes and brackets, so everything up to the last @ is replaced.
    text = re.sub(r"(?<!sqlite)://\S*@", "://***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token|secret)=[^\s&'\"()]+", r"\1=***", text)


class CoosError(Exception):
    """Base of all errors caused by the input or the environment, not by a defect.

    Examples
    --------
    >>> try:  # doctest: +SKIP
    ...     coos_mlflow.score("nowhere.h5", "texture-lr")
    ... except coos_mlflow.CoosError as error:
    ...     print(error)
    """

    exit_code = 1
    exit_words: str
    """The meaning of `exit_code` in ``--help``; set where the code is."""


class DataError(CoosError, ValueError):
    """A plate, an image, a folder or an argument is not as the contract requires (exit code 2)."""

    exit_code = 2
    exit_words = "bad input or usage"


class UnusableCellsError(DataError):
    """Some cells of a file cannot be used, such as those with a constant channel (exit code 2)."""


class MissingWeightsError(DataError):
    """Weights that cannot be computed are not on this machine (exit code 2)."""


class RegistryError(CoosError, LookupError):
    """A model, version, alias or tracking store cannot be found or does not fit (exit code 3)."""

    exit_code = 3
    exit_words = "model or tracking store not found, not fitting or away (coos sync)"


class RunNotLoggedError(RegistryError):
    """A scoring, fit or training was done, but the tracking store took no run (exit code 3).

    Attributes
    ----------
    done : object or None
        The finished result, if the caller can continue with it.
    """

    done: object = None


class ServerError(CoosError, ConnectionError):
    """A scoring server does not respond, or does not serve a model of this package.

    It has no exit code of its own, since no command uses a server.
    """


class ConditionMetError(CoosError):
    """Plates were scored, and some of them meet a condition of --fail-on (exit code 4)."""

    exit_code = 4
    exit_words = "a plate met --fail-on"


class PlatesFailedError(CoosError):
    """Some plates, or some fields of one, could not be read; the others were (exit code 5)."""

    exit_code = 5
    exit_words = "some plates or fields could not be read (--keep-going)"


class DownloadError(CoosError, OSError):
    """A download failed or arrived damaged (exit code 6)."""

    exit_code = 6
    exit_words = "download failed"


class OutputError(CoosError, OSError):
    """Results cannot be written to the requested place (exit code 7)."""

    exit_code = 7
    exit_words = "results cannot be written"


class TrainingError(CoosError, ArithmeticError):
    """A network's training cannot continue: infinite loss or damaged checkpoint (exit code 8)."""

    exit_code = 8
    exit_words = "a network's training cannot go on"


class ClusterError(CoosError, ConnectionError):
    """A Dask cluster is not reachable, was lost, or its workers lack something (exit code 9)."""

    exit_code = 9
    exit_words = "Dask cluster not there or lost"


class PrintError(CoosError, OSError):
    """The work was done, but its output could not be written to stdout (exit code 10).

    A reader that closes its pipe early, as `head` does, is no error.
    """

    exit_code = 10
    exit_words = "done, but stdout could not be written"


class IncompletePythonError(CoosError, ImportError):
    """Python was built without a standard module, such as lzma or sqlite3 (exit code 1)."""


_HEADERS = {
    "_bz2": "libbz2-dev",
    "_ctypes": "libffi-dev",
    "_lzma": "liblzma-dev",
    "_sqlite3": "libsqlite3-dev",
}
"""Debian packages with the headers that Python needs to build each module."""


@contextmanager
def whole_python() -> Iterator[None]:
    """Turn the ImportError of a missing standard module into a sentence on how to install it.

    Raises
    ------
    IncompletePythonError
    """
    try:
        yield
    except ImportError as error:
        lacking: BaseException | None = error
        while lacking and getattr(lacking, "name", None) not in sys.stdlib_module_names:
            lacking = lacking.__cause__  # scipy, for one, raises another ImportError from it
        if not isinstance(lacking, ImportError):
            raise
        name = str(lacking.name)
        headers = _HEADERS.get(name, "the headers of its library")
        raise IncompletePythonError(
            f"{sys.executable} was built without its module {name.lstrip('_')}, which this "
            f"command needs; use another Python, or build this one again with {headers} installed."
        ) from error


def exit_codes() -> str:
    """Return one line with all exit codes of the commands, from the classes above."""
    codes = {0: "done", 1: "something unforeseen"}
    for kind in _subclasses(CoosError):
        if "exit_code" in vars(kind):
            codes[kind.exit_code] = kind.exit_words
    codes |= {129: "ended by SIGHUP", 130: "by Ctrl-C", 143: "by SIGTERM"}
    return "; ".join(f"{code} {words}" for code, words in sorted(codes.items()))


def _subclasses(kind: type[CoosError]) -> Iterator[type[CoosError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)
