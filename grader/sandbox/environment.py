"""The small fixed environment of every kernel."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grader.paths import ROOT

USER: Final = "student"
LIBRARIES: Final = "LD_LIBRARY_PATH"


def build_environment(home: str, temporary: str) -> dict[str, str]:
    """Variables of a kernel whose home and temporary folders are these. The policy's asker may add to them."""
    return {
        "HOME": home,
        "USER": USER,
        "LOGNAME": USER,
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TMPDIR": temporary,
        "IPYTHONDIR": f"{temporary}/ipython",
        "MPLCONFIGDIR": f"{temporary}/matplotlib",
        **read_loader_variables(),
    }


def read_loader_variables() -> dict[str, str]:
    """What an interpreter needs to be loaded at all, where it was built to find its libraries by this variable."""
    folders = list_library_folders(os.environ)
    return {LIBRARIES: os.pathsep.join(folders)} if folders else {}


def list_library_folders(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The folders of LD_LIBRARY_PATH that hold libraries. Kernels see them: not the home folder, nor what holds us."""
    named = dict.fromkeys(environ.get(LIBRARIES, "").split(os.pathsep))
    places = (ROOT, Path(environ.get("HOME") or "/"))
    private = {str(folder) for place in places for folder in (place, *place.parents)}
    return tuple(name for name in named if Path(name).is_absolute() and name not in private and _holds_libraries(name))


def _holds_libraries(folder: str) -> bool:
    return next(Path(folder).glob("*.so*"), None) is not None
