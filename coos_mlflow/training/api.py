"""Training of a representation's classifiers by name, for `coos_mlflow.train` and `coos train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coos_mlflow.classifiers.protocol import check_protocol, choose_preset
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations import create
from coos_mlflow.training.data import AUTO, DEFAULT_SCALE, choose, described
from coos_mlflow.training.train import Row, rows_of, train_rows


def train(
    representation: str = "texture",
    data: str = AUTO,
    *,
    classifiers: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    preset: str = AUTO,
    settings: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    scale: float = DEFAULT_SCALE,
    seed: int = 0,
    drop_bad: bool = False,
    resume: bool = True,
    on_data: Callable[[TrainingData, str], None] | None = None,
) -> list[Row]:
    """Fit, evaluate and register the classifiers of a representation.

    Parameters
    ----------
    representation : str
        One of `coos_mlflow.representations()`.
    data : str
        "auto" (COOS-7 where it is on disk, else simulated cells), "simulated", or a folder.
    classifiers : sequence of str, optional
        Some of "own" and `coos_mlflow.classifiers.kinds.kinds`, or "all"; those of the paper by
        default.
    layers : sequence of str, optional
        Some of the representation's layers; all by default.
    preset : {"auto", "paper", "quick"}
        "auto" is "paper" on real data and "quick" on simulated data.
    settings : mapping, optional
        Parameters of the representation.
    protocol : mapping, optional
        Fields of `coos_mlflow.classifiers.protocol.Protocol` that differ from the preset.
    scale : float
        Size of simulated data; 1 is the size of COOS-7.
    seed : int
        Seed of all random numbers.
    drop_bad : bool
        Leave out cells that cannot be used, such as those with a constant channel.
    resume : bool
        Resume a stopped training of a network.
    on_data : callable, optional
        Called with the data and the preset before the training begins.

    Returns
    -------
    list of Row
        Registered models with their errors by split.

    Raises
    ------
    CoosError
        For unknown names and settings, and data that cannot be used.

    Examples
    --------
    >>> rows = coos_mlflow.train("texture", "simulated", classifiers=["lr"])  # doctest: +SKIP
    >>> rows[0].model.name, rows[0].errors["test4"]  # doctest: +SKIP
    ('texture-lr', 15.8)
    """
    settings = {"seed": seed} | dict(settings or {})
    overrides = {"seed": seed} | dict(protocol or {})
    check_protocol(preset, overrides)
    # The first one only checks settings, rows and weights, before data are simulated.
    checked = create(representation, dataset=described(data), **settings)
    checked.require()
    rows = rows_of(checked, classifiers, layers)
    chosen = choose(data, scale, seed, drop_bad=drop_bad)
    preset = choose_preset(preset, chosen)
    if on_data:
        on_data(chosen, preset)
    return train_rows(
        create(representation, preset, chosen.dataset, **settings),
        chosen,
        rows=rows,
        preset=preset,
        overrides=overrides,
        resume=resume,
    )
