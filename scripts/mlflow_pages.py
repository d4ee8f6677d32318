"""Take pictures of MLflow's pages about a store of this package, for docs/mlflow_pages.md.

    python scripts/mlflow_pages.py sqlite:///demo/mlflow.db docs/images

It starts `mlflow server` on the store and opens the pages in headless Chromium. It needs the extra
[dev], Chromium and its driver (apt-get install chromium chromium-driver). The store needs two
versions of MODEL and a run of `coos-score`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from coos_mlflow.registry.runs import SCORING_EXPERIMENT, TRAINING_EXPERIMENT

MODEL = "texture-lr"

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--hide-scrollbars",
)  # fmt: skip

PATIENCE = 60
"""Seconds to wait for a page or the server."""

WIDTH = 1300
"""Pixels of a picture's width."""

COLOURS = 64

SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
"""What the browser remembers after a click on "Model training", and of the assistant's first
appearance."""

EXPAND = "document.querySelectorAll('.ag-row .du-bois-light-btn')[0].click()"
"""Shows the runs of the newest training, one for each model."""

TO_METRICS = "document.querySelector('.ag-center-cols-viewport').scrollLeft = 680"
"""Scrolls the table of models to its columns of metrics."""


@dataclass(frozen=True)
class Page:
    """A page of MLflow.

    Parameters
    ----------
    path : str
        Its address behind the ``#``.
    words : str
        Words that it shows once it is whole.
    height : int
        Pixels of the picture's height.
    click : str
        Text of what is clicked before the picture.
    run : str
        JavaScript to run before the picture.
    """

    path: str
    words: str
    height: int
    click: str = ""
    run: str = ""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="such as sqlite:///demo/mlflow.db")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--only", help="one picture, by its name")
    asked = parser.parse_args()
    pages = pages_of(MlflowClient(asked.store))
    with served(asked.store) as address, chromium() as browser:
        browser.get(address)
        for key, value in SETTINGS.items():
            browser.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)
        for name, page in pages.items():
            if asked.only in (None, name):
                take(browser, address, page, asked.out / f"{name}.png")


def pages_of(client: MlflowClient) -> dict[str, Page]:
    """Return the pages by the name of their picture."""
    training, scoring = (
        client.get_experiment_by_name(name).experiment_id
        for name in (TRAINING_EXPERIMENT, SCORING_EXPERIMENT)
    )
    found = client.search_model_versions(f"name='{MODEL}'")
    old, new = sorted(found, key=lambda one: int(one.version))[-2:]
    scored, *_ = client.search_runs([scoring])
    compared = quote(json.dumps({str(one.version): one.run_id for one in (old, new)}))
    train, score = f"/experiments/{training}", f"/experiments/{scoring}"
    return {
        "mlflow_runs": Page(train, "texture", 620, run=EXPAND),
        "mlflow_run": Page(f"{train}/runs/{new.run_id}", "Balanced error", 900, "Show more"),
        "mlflow_scoring": Page(
            f"{score}/runs/{scored.info.run_id}", "The labels", 1000, "Show more"
        ),
        "mlflow_version": Page(f"/models/{MODEL}/versions/{new.version}", "How to use it", 1150),
        "mlflow_models": Page(f"{train}/models", "texture-rf", 560, run=TO_METRICS),
        "mlflow_comparison": Page(
            f"/compare-model-versions?name=%22{MODEL}%22&runs={compared}", "Parameters", 1130
        ),
    }


def take(browser: WebDriver, address: str, page: Page, file: Path) -> None:
    """Open a page, wait for its words, and keep it as a PNG of a few colours."""
    browser.get("about:blank")  # a change behind the # alone would not load the page anew
    browser.set_window_size(WIDTH, page.height)
    browser.get(f"{address}/#{page.path}")
    WebDriverWait(browser, PATIENCE).until(
        lambda open_page: page.words in open_page.find_element(By.TAG_NAME, "body").text
    )
    time.sleep(2)  # tables and figures are drawn after their words
    if page.click:
        browser.find_element(By.XPATH, f"//*[text()='{page.click}']").click()
    browser.execute_script(page.run)
    time.sleep(2)
    browser.save_screenshot(str(file))
    with Image.open(file) as shot:
        few = shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB, {browser.current_url}")


@contextmanager
def served(store: str) -> Iterator[str]:
    """Run `mlflow server` on a store; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--workers", "1", "--backend-store-uri", store]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options],
        env=os.environ | quiet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    try:
        while not healthy(address):
            if time.monotonic() > end or server.poll() is not None:
                sys.exit(f"mlflow server does not answer on {store} within {PATIENCE} s.")
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)


def healthy(address: str) -> bool:
    """Tell whether the server answers."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def chromium() -> Iterator[WebDriver]:
    """Run headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            yield browser
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
