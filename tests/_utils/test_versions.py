"""Which versions of the package fit each other."""

import pytest

from coos_mlflow import __version__
from coos_mlflow._utils.versions import fits


@pytest.mark.parametrize(
    ("made", "here", "fitting"),
    [
        ("0.1.0", "0.1.9", True),
        ("0.1.0", "0.2.0", False),
        ("0.9.0", "1.0.0", False),
        ("1.2.0", "1.9.3", True),
        ("1.2.0", "2.2.0", False),
        ("0.2.0.dev3", "0.2.0", True),
        ("0.1", "0.1.0+cpu", True),
        ("1!0.1.0", "0.1.0", False),
        ("", "0.1.0", False),
        ("None", "0.1.0", False),
        ("0.1.0; rm", "0.1.0", False),
    ],
)
def test_versions_of_one_release_series_fit_each_other(made, here, fitting):
    assert fits(made, here) is fitting
    assert fits(here, made) is fitting


def test_the_installed_version_fits_itself():
    assert fits(__version__)
    assert not fits("no version")
