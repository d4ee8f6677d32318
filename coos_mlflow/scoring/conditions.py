"""Parse and check the conditions of --fail-on, which end `coos-score` with exit code 4."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coos_mlflow.drift import CANNOT_TELL, SHIFTED
from coos_mlflow.errors import DataError

VERDICTS = {verdict.replace(" ", "-"): verdict for verdict in (SHIFTED, CANNOT_TELL)}
"""Verdicts that can be a condition, by their spelling on the command line."""

NEVER = "never"
"""Text for no condition; the default of MLflow's entry point, which needs a value."""

ALLOWED = f"{', '.join(VERDICTS)}, error>N or measured-error>N with N from 0 to 100, or {NEVER}"

_ERROR = re.compile(r"(?P<measured>measured-)?error>(?P<most>[0-9]+(\.[0-9]+)?)")


@dataclass(frozen=True)
class Condition:
    """One condition.

    Parameters
    ----------
    text : str
        The condition as typed by the user.
    verdict : str or None
        The verdict that meets it.
    most_error : float or None
        The estimated or measured balanced error, in %, above which it is met. Without an upper end
        of the error it is met too.
    measured : bool
        Whether only a measured error counts, by the upper end of its interval.
    """

    text: str
    verdict: str | None = None
    most_error: float | None = None
    measured: bool = False

    def met_by(self, drift: dict[str, Any]) -> str | None:
        """Return the verdict or error that meets the condition, in words, or None."""
        if self.most_error is None:
            return self.verdict if drift["verdict"] == self.verdict else None
        if self.measured:
            return self._met_by_measured(drift)
        estimate = drift.get("error") or {}
        error = estimate.get("balanced_error")
        if error is None:
            because = f" because: {estimate['reason']}" if estimate.get("reason") else ""
            return f"its balanced error could not be estimated{because}"
        low, high, answer = estimate["low"], estimate["high"], estimate["answer"]
        if high is None:
            # Nothing vouches that the error is below any figure, such as the one asked for.
            return (
                f"balanced error at least {low:.3g} % (best guess {error:.3g} %), without an upper "
                "end"
            )
        if error <= self.most_error:
            return None
        return f"{answer} balanced error {error:.3g} % ({low:.3g} to {high:.3g} %)"

    def _met_by_measured(self, drift: dict[str, Any]) -> str | None:
        """Return the interval that reaches above the figure asked for, or that there is none.

        Labels of a person come before control wells, which must cover the whole file.
        """
        # Imported here, since it imports NumPy, which `coos --help` does not need.
        from coos_mlflow.drift.error_estimate import MEASURED

        assert self.most_error is not None
        measured = drift.get("audit")
        if measured is None and (drift.get("error") or {}).get("answer") == MEASURED:
            measured = drift["error"]
        error = None if measured is None else measured["balanced_error"]
        if measured is None or error is None:
            return "its balanced error was not measured"
        low, high = measured["low"], measured["high"]
        if high <= self.most_error:
            return None
        return f"measured balanced error {error:.3g} %, with {low:.3g} to {high:.3g} % possible"


def parse(texts: Iterable[str]) -> list[Condition]:
    """Parse conditions; each text holds one or several, separated by commas.

    Parameters
    ----------
    texts : iterable of str
        Such as ``["shifted", "cannot-tell,error>5"]``.

    Raises
    ------
    DataError
        For an unknown condition; the message lists the allowed ones.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    return [_condition(part) for part in dict.fromkeys(parts) if part != NEVER]


def violations(drift: dict[str, Any], conditions: Iterable[Condition]) -> list[str]:
    """Return one sentence for each condition that a scored file meets.

    A file of several plates is judged as a whole, since some of many ordinary plates are called
    shifted by chance. A missing estimate, and one without an upper end, meet every condition on the
    error. What was not measured meets every condition on the measured error.

    Parameters
    ----------
    drift : dict
        Content of ``drift.json``.
    conditions : iterable of Condition
        From `parse`.
    """
    met = ((condition.text, condition.met_by(drift)) for condition in conditions)
    file = drift["plate_file"]["name"]
    return [f"{file}: {words} (--fail-on {text})" for text, words in met if words]


def _condition(text: str) -> Condition:
    if text in VERDICTS:
        return Condition(text, verdict=VERDICTS[text])
    error = _ERROR.fullmatch(text)
    if error and float(error["most"]) <= 100:
        return Condition(text, most_error=float(error["most"]), measured=bool(error["measured"]))
    raise DataError(f"--fail-on {text!r} found, expected {ALLOWED}.")
