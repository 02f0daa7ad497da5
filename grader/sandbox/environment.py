"""The small fixed environment of every kernel."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grader.paths import ROOT

USER: Final = "student"
LIBRARIES: Final = "LD_LIBRARY_PATH"


def build_environment(home: str = "/home", temporary: str = "/tmp", evidence: str = "/evidence") -> dict[str, str]:
    """Return the variables of a kernel with these folders; `Workspace.environ` is added to them."""
    person = {"HOME": home, "USER": USER, "LOGNAME": USER, "PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    caches = {"IPYTHONDIR": f"{temporary}/ipython", "MPLCONFIGDIR": f"{temporary}/matplotlib"}
    return person | caches | {"TMPDIR": temporary, "SANDBOX_EVIDENCE": evidence} | read_loader_variables()


def read_loader_variables() -> dict[str, str]:
    """Return LD_LIBRARY_PATH for an interpreter that was built to find its libraries by it, nothing for others."""
    folders = list_library_folders(os.environ)
    return {LIBRARIES: os.pathsep.join(folders)} if folders else {}


def list_library_folders(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List the folders of LD_LIBRARY_PATH with libraries, which kernels see, without home and what holds the grader."""
    named = dict.fromkeys(environ.get(LIBRARIES, "").split(os.pathsep))
    places = (ROOT, Path(environ.get("HOME") or "/"))
    private = {str(folder) for place in places for folder in (place, *place.parents)}
    allowed = (name for name in named if Path(name).is_absolute() and name not in private)
    return tuple(name for name in allowed if any(Path(name).glob("*.so*")))
