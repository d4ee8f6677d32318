"""Print the sharpness of simulated fields at several distances from the focus.

The limits of `coos_mlflow.fields.quality` are from this table. Its seeds are used nowhere else.

    python scripts/calibrate_focus.py
"""

from __future__ import annotations

import numpy as np

from coos_mlflow.fields.cells import cut_cells
from coos_mlflow.fields.quality import FIELD_RULES, RELATIVE_FOCUS, compared, field_figures, flags
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.simulate.whole_fields import simulate_fields

SEEDS = (9001, 9002)
PIXELS_UM = (0.3225, 0.645)
USUAL_UM = 0.45
"""Distance from the focus of simulated wells, see `coos_mlflow.simulate.population.EFFECTS`."""

TIMES = (1.0, 2.5, 3.0, 4.5, 6.5)


def figures(seed: int, pixel: float, times: float) -> list[dict[str, float]]:
    """Return the figures of the fields of one plate, focused `times` as badly as usual."""
    found = []
    for field in simulate_fields(
        seed=seed,
        classes=(0, 3, 5),
        size=(540, 540),
        pixel_size_um=pixel,
        defocus_um=(times - 1) * USUAL_UM,
    ):
        settings = CropSettings(0, 1, 64, pixel)
        cells = cut_cells(field.counts, field.labels, settings)
        found.append(field_figures(field.counts, field.labels, cells, settings))
    return found


def main() -> None:
    print("pixel  times  focus          relative       out_of_focus  less_sharp  fields")
    for pixel in PIXELS_UM:
        usual = {seed: figures(seed, pixel, 1.0) for seed in SEEDS}
        for times in TIMES:
            values, shares = [], []
            counted = {"out_of_focus": 0, "less_sharp": 0}
            for seed in SEEDS:
                for place, one in enumerate(figures(seed, pixel, times)):
                    # One field among those of a plate that is in focus.
                    plate = [*usual[seed][:place], one, *usual[seed][place + 1 :]]
                    judged = compared(plate)[place]
                    values.append(judged["focus"])
                    shares.append(judged[RELATIVE_FOCUS])
                    for key in flags(judged, FIELD_RULES):
                        counted[key] += 1
            ranges = [f"{np.min(v):.2f} to {np.max(v):.2f}" for v in (values, shares)]
            print(
                f"{pixel:<6g} {times:<6g} {ranges[0]:<14} {ranges[1]:<14} "
                f"{counted['out_of_focus']:<13} {counted['less_sharp']:<11} {len(values)}"
            )


if __name__ == "__main__":
    main()
