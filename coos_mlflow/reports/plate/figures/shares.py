"""Shares of the classes, as predicted and as corrected."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

from coos_mlflow.reports.plate.figures.svg import svg


def class_shares(shares: list[dict[str, Any]]) -> Markup:
    """Draw the predicted share of each class as a bar and the corrected one as a mark."""
    width, left, step, top = 440, 178, 27, 4
    scale = (width - left - 108) / max(max(s["predicted"], s["corrected"]) for s in shares)
    parts = []
    for number, share in enumerate(shares):
        y = top + number * step
        bar, corrected = share["predicted"] * scale, left + share["corrected"] * scale
        title = f"{share['name']}: predicted {share['predicted']:.1%}, "
        title += f"corrected {share['corrected']:.1%}"
        parts.append(
            f"<g><title>{escape(title)}</title>"
            f'<text class="row long" x="{left - 10}" y="{y + 15}">{escape(share["name"])}</text>'
            f'<rect class="bar c{share["label"]}" x="{left}" y="{y + 3}" '
            f'width="{max(bar, 1):.1f}" height="16" rx="2"/>'
            f'<path class="corrected" d="M{corrected:.1f} {y}v22"/>'
            f'<text class="value" x="{max(left + bar, corrected) + 7:.1f}" y="{y + 15}">'
            f"{share['predicted']:.0%}, corr. {share['corrected']:.0%}</text></g>"
        )
    return svg(width, top * 2 + step * len(shares), "Shares of the classes", parts)
