"""Differences of a plate from Training: raw-image figures, and effect sizes beside the splits'."""

from __future__ import annotations

from typing import Any

from coos_mlflow.reports.plate.dataset import splits
from coos_mlflow.reports.plate.wording import plate_words


def raw_moves(drift: dict[str, Any], plates: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the raw-image figures of the first of `plates` that has any, by channel."""
    for plate in plates:
        rows = [
            move | {"short": _short(move), "words": _change(move)}
            for move in drift["raw_moves"]
            if move["plate"] == plate["plate"]
        ]
        if rows:
            channels = dict.fromkeys(row["channel"] for row in rows)
            return {
                "plate": plate_words(plate["plate"]),
                "at": drift["settings"]["moved_at"],
                "high": max(10.0, *(abs(row["z"]) for row in rows)),
                "channels": [
                    {
                        "title": f"{channel} channel" if channel != "both" else "Both channels",
                        "rows": [row for row in rows if row["channel"] == channel],
                    }
                    for channel in channels
                ],
                "moved": [row["figure"] for row in rows if row["moved"]],
                "rows": rows,
            }
    return None


def _short(move: dict[str, Any]) -> str:
    """Return the figure's name without its channel, which is in the heading."""
    return str(move["figure"]).removeprefix(f"{move['channel']} ")


def _change(move: dict[str, Any]) -> str:
    if move["change_is"] == "factor":
        return f"×{move['change']:.3g}"
    return f"{move['change']:+.2f}"


def effects(drift: dict[str, Any], plates: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the effect sizes of the first of `plates` that has any, beside those of the splits."""
    for plate in plates:
        if any(value is not None for value in plate["effects"].values()):
            return {
                "plate": plate_words(plate["plate"]),
                "rows": [
                    {
                        "title": statistic["title"],
                        "meaning": statistic["meaning"],
                        "values": _values(statistic["key"], plate, drift),
                    }
                    for statistic in drift["effects"]["statistics"]
                ],
            }
    return None


def _values(key: str, plate: dict[str, Any], drift: dict[str, Any]) -> list[dict[str, Any]]:
    reference = drift["effects"]["reference"]
    entries = [("new", "This plate", plate["effects"].get(key))]
    entries += [
        (split["mark"], split["title"], reference[name].get(key))
        for name, split in splits(drift).items()
        if name in reference
    ]
    return [
        {"key": k, "title": title, "value": value, "text": "–" if value is None else f"{value:.2g}"}
        for k, title, value in entries
    ]
