"""The small fixed environment of every kernel."""

import sys
from typing import Final

USER: Final = "student"


def environment(home: str, temporary: str) -> dict[str, str]:
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
    }
