"""JupyterLab for a student's folder: in an environment of its own, without a network, without news."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.assets.cache import locate_cache
from grader.assets.hub import prepare_standin_checkpoint
from grader.assets.metrics import prepare_metrics
from grader.errors import GraderError
from grader.execution.variables import build_variables
from grader.paths import ROOT
from grader.review.server import HOST, open_socket

START_S: Final = 60
READY: Final = "ready"
SETTINGS: Final = {
    # All cells are in the page, also those that are not in sight: their outputs are read there.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},  # a scene is about what is not saved
}


@dataclass(frozen=True)
class Lab:
    """A server that runs: its address and the word that opens it."""

    address: str
    token: str


def prepare_environment(folder: Path, lock: Path) -> Path:
    """Return the Python of an environment with all that the kit's lock names, made if it is not there yet.

    What the project's own environment has already is taken from there. Raises GraderError.
    """
    python = folder / "bin" / "python"
    if (folder / READY).is_file():
        return python
    venv.create(folder, with_pip=True, clear=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "project.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GraderError(f"JupyterLab could not be installed in {folder}: {done.stderr.strip()[-500:]}")
    (folder / READY).touch()
    return python


@contextmanager
def serve(python: Path, folder: Path, scratch: Path) -> Iterator[Lab]:
    """Serve a folder until the end of the block. Raises GraderError."""
    with open_socket(0) as found:
        port = found.getsockname()[1]
    lab = Lab(f"http://{HOST}:{port}", secrets.token_hex(16))
    command = [str(python), "-m", "jupyterlab", "--no-browser", f"--ip={HOST}", f"--port={port}", "--allow-root"]
    command += ["--ServerApp.port_retries=0", "--expose-app-in-browser", f"--LabApp.app_settings_dir={scratch}"]
    _write_settings(scratch)
    variables = _build_variables(scratch) | {"JUPYTER_TOKEN": lab.token}
    with (scratch / "server.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(lab, process, scratch)
            yield lab
        finally:
            process.terminate()
            process.wait()


def _write_settings(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)  # a check remembers the trainings of earlier kernels
    scratch.mkdir(parents=True)
    (scratch / "overrides.json").write_text(json.dumps(SETTINGS))


def _build_variables(scratch: Path) -> dict[str, str]:
    """Return the variables of a student's machine on which all that is needed was downloaded once."""
    cache = locate_cache(ROOT, os.environ)
    found = build_variables(prepare_standin_checkpoint(cache).hub_cache, prepare_metrics(cache), scratch)
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    places |= {"IPYTHONDIR": "ipython", "XDG_CACHE_HOME": "cache", "MPLCONFIGDIR": "plots"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_", "PYTHON"))}
    own = {name: str(scratch / folder) for name, folder in places.items()}
    return {**kept, **found, **own, "A4_CACHE": str(cache)}


def _wait(lab: Lab, process: "subprocess.Popen[bytes]", scratch: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.address}/api?token={lab.token}", timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
        else:
            return
    raise GraderError(f"JupyterLab did not start; {scratch / 'server.txt'} says why ({sys.executable}).")
