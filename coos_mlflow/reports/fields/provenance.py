"""Settings, channels and versions of fields.json in words."""

from __future__ import annotations

from typing import Any

from coos_mlflow.reports.fields.words import figure
from coos_mlflow.reports.plate.wording import shown, without_controls

DEPTHS = {"max": "brightest of all depths", "focus": "sharpest depth"}
KEPT = {"all": "all fields, with or without warnings", "good": "fields without a warning"}


def provenance(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how the cells were found, as names and words."""
    settings = facts["settings"]
    pixel, size, z = settings["crop_pixel_um"], settings["size"], str(settings["z"])
    resampled = f"of {figure(pixel)} µm, resampled" if pixel else "of the fields, not resampled"
    return [
        ("plate", without_controls(facts["location"])),
        ("read as", shown(facts["source"])),
        ("protein channel", _channel(facts, "protein")),
        ("nucleus channel", _channel(facts, "nucleus")),
        ("pixel of the fields", f"{figure(facts['pixel_size_um'])} µm"),
        ("depths", DEPTHS.get(z, f"depth {shown(z)}")),
        ("uneven light", "estimated and divided out" if settings["illumination"] else "as it is"),
        ("nuclei found by", _segmenter(facts)),
        ("nuclei across", f"{figure(size['smallest'])} to {figure(size['largest'])} µm"),
        ("crops", f"{settings['crop']} × {settings['crop']} pixels {resampled}"),
        ("data set", shown(facts["dataset"])),
        ("cells taken from", KEPT.get(settings["keep"], shown(settings["keep"]))),
    ]


def channels(facts: dict[str, Any]) -> list[str]:
    """Return each channel in words, with what it was taken for."""
    roles = {place: role for role, place in facts["roles"].items()}
    return [
        channel_words(channel) + (f": taken as {roles[place]}" if place in roles else ": not used")
        for place, channel in enumerate(facts["channels"])
    ]


def channel_words(channel: dict[str, Any]) -> str:
    """Return name and wavelengths of a channel."""
    lights = [("excitation", channel["excitation_nm"]), ("emission", channel["emission_nm"])]
    known = [f"{name} {figure(value)} nm" for name, value in lights if value is not None]
    return shown(channel["name"]) + (f" ({', '.join(known)})" if known else "")


def versions(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the versions of packages."""
    return [(shown(name), shown(version)) for name, version in facts["versions"].items()]


def _channel(facts: dict[str, Any], role: str) -> str:
    return channel_words(facts["channels"][facts["roles"][role]])


def _segmenter(facts: dict[str, Any]) -> str:
    own = [f"{shown(name)} {shown(value)}" for name, value in facts["segmenter"].items()]
    return ", ".join([shown(facts["settings"]["segmenter"]), *own])
