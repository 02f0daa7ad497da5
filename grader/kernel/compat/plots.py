"""Plots in windows and widgets, neither of which are here: they are shown below the cell."""

from typing import Any

from matplotlib.backends import registry

from grader.kernel.wrapping import wrap

INLINE = "module://matplotlib_inline.backend_inline"
WINDOWS = ("tk", "qt", "gtk", "wx", "macosx", "webagg", "nbagg", "notebook", "ipympl", "widget")


def force_inline(shell: Any) -> None:
    """Show plots of `%matplotlib qt` and of `matplotlib.use("TkAgg")` below the cell, and run the lines below them."""
    original = shell.enable_matplotlib

    def enable(gui: Any = None) -> Any:
        try:
            return original(gui)
        except Exception:  # every kind of window is missed in its own way
            print(f"[grading] matplotlib {gui} does not work on this machine; plots are shown inline")
            return original("inline")

    shell.enable_matplotlib = enable
    wrap(registry.BackendRegistry, "load_backend_module", _load_backend)


def _load_backend(original: Any, self: Any, backend: str) -> Any:
    """Load what draws below the cell in place of what opens windows, however the notebook asked for it."""
    name = backend.lower().removeprefix("module://")
    return original(self, INLINE if name.startswith(WINDOWS) else backend)
