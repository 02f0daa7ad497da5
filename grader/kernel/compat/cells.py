"""What cells hold besides Python: magics, shell commands, questions to whoever sits there, and restarts."""

import ast
import builtins
import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from types import FrameType
from typing import Any

from grader.kernel.compat.files import wrap
from grader.kernel.compat.missing_imports import ImportGuard

INSTALLERS = ("pip", "conda", "mamba", "uv", "apt")
LINE_MAGICS = (
    "pip",
    "conda",
    "mamba",
    "uv",
    "apt",
    "env",
    "cd",
    "system",
    "sx",
    "load_ext",
    "autoreload",
    "debug",
    "pdb",
)
SHELL_CELLS = ("bash", "sh", "script", "system", "sx", "shell", "cmd", "perl", "ruby")  # their body is not Python
PAGE_CELLS = ("html", "javascript", "js", "latex", "markdown", "svg", "sql", "bigquery")
BARE = re.compile(
    r"(?P<indent>\s*)(?:pip3? install|conda install|apt(?:-get)? |wget +[-h]|git clone|nvidia-smi\b|ln -s)"
)
SET_UP = frozenset((*INSTALLERS, "pip3", "apt-get", "nvidia-smi", "wget", "curl", "git", "gdown", "kaggle", "unzip"))
TEXT_OPTIONS = ("text", "universal_newlines", "encoding", "errors")  # of subprocess: output is text, not bytes
FATAL = (9, signal.SIGTERM)  # 9 is SIGKILL, which Windows does not name
GPU_QUESTIONS = frozenset(("is_available", "device_count"))
MAX_ANSWERS = 50  # a loop that asks until it hears something else must end


def tolerate(shell: Any) -> None:
    """Show what is not run, run the rest."""
    for name in LINE_MAGICS:
        shell.register_magic_function(_line(f"%{name}"), "line", name)
    for name in (*SHELL_CELLS, *PAGE_CELLS):
        shell.register_magic_function(_cell(f"%%{name}"), "cell", name)
    shell.system = shell.system_piped = shell.system_raw = _line("!")
    shell.getoutput = lambda *a, **k: []
    shell.ask_exit = lambda *a, **k: print("[grading] the notebook goes on")
    shell.input_transformers_cleanup.append(bare_shell_lines)
    shell.ast_transformers.append(GpuDemandRemover())
    shell.ast_transformers.append(ImportGuard())
    _tolerate_unknown_magics(shell)
    _force_inline_plots(shell)
    _answer_questions(shell)
    _prevent_restart()
    _stub_programs()


def _line(label: str, result: Any = None) -> Callable[..., Any]:
    def show(line: str = "", *args: Any, **kwargs: Any) -> Any:
        print(f"[not run while grading] {label}{' ' if label != '!' else ''}{line}")
        return result

    return show


def _cell(label: str) -> Callable[..., None]:
    return lambda line="", cell="", *a, **k: print(f"[not run while grading] {label} {line}")


def _tolerate_unknown_magics(shell: Any) -> None:
    """A magic of an extension that is not here: nothing for a line, and the cell below it is run."""
    find_line, find_cell = shell.find_line_magic, shell.find_cell_magic

    def cell_magic(line: str, cell: str) -> Any:
        return shell.run_cell(cell).raise_error()

    original = shell._find_with_lazy_load

    def find(kind: str, name: str) -> Any:
        found = original(kind, name)
        if found is not None:
            return found
        other = find_cell(name) if kind == "line" else find_line(name)
        return None if other is not None else _line(f"%{name}") if kind == "line" else cell_magic

    shell._find_with_lazy_load = find


def _force_inline_plots(shell: Any) -> None:
    """`%matplotlib widget` or `qt`: neither widgets nor windows are here, and the lines below want to be run."""
    original = shell.enable_matplotlib

    def enable(gui: Any = None) -> Any:
        try:
            return original(gui)
        except Exception:  # every kind of window is missed in its own way
            print(f"[grading] there is no matplotlib {gui} here; plots are inline")
            return original("inline")

    shell.enable_matplotlib = enable


def bare_shell_lines(lines: list[str]) -> list[str]:
    """An input transformer: a bare `pip install x` in a cell is not Python."""
    return [_comment_out(line) for line in lines]


def _comment_out(line: str) -> str:
    found = BARE.match(line)
    return f"{found['indent']}pass  # [not run while grading] {line.strip()}\n" if found else line


class GpuDemandRemover(ast.NodeTransformer):
    """`assert torch.cuda.is_available()`, or an `if` that raises: here the CPU does what the GPU is wanted for."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Nothing, where a GPU is demanded."""
        return ast.copy_location(ast.Pass(), node) if _asks_for_gpu(node.test) else node

    def visit_If(self, node: ast.If) -> ast.stmt:
        """The same without what ends the notebook."""
        self.generic_visit(node)
        if _asks_for_gpu(node.test) and isinstance(node.body[-1], ast.Raise):
            node.body[-1] = ast.copy_location(ast.Pass(), node.body[-1])
        return node


def _asks_for_gpu(test: ast.expr) -> bool:
    parts = list(ast.walk(test))
    names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return bool(names & GPU_QUESTIONS) or any(text.startswith("cuda") for text in texts)


def _answer_questions(shell: Any) -> None:
    """`input()` and `getpass()`: nobody is there, so yes where yes is offered, and 1 otherwise."""
    import getpass

    given = 0

    def reply(prompt: object = "", *args: Any, **kwargs: Any) -> str:
        nonlocal given
        given += 1
        if given > MAX_ANSWERS:
            raise EOFError("input() has been answered often enough while grading: nobody is there")
        print(f"[grading] {prompt}{answer(str(prompt))}")
        return answer(str(prompt))

    builtins.input = getpass.getpass = reply
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:  # it puts its own in place before every cell
        kernel.raw_input = kernel.getpass = reply


def answer(prompt: str) -> str:
    """What to say: a text that is a number as well."""
    return "y" if re.search(r"\b(?:y|yes)\b", prompt.lower()) else "1"


def _stub_programs() -> None:
    """Installers, downloads and programs that are not here, called by the notebook's code: shown, and all is well.

    Libraries call programs too, and know what to do where one is missing: matplotlib asks `fc-list` for fonts when it
    is imported. They get what the system says.
    """
    work = os.getcwd()  # noqa: PTH109 - as code objects name it

    def tolerant(original: Any, stand_in: Callable[..., Any]) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            if not is_notebook_code(sys._getframe(1), work):
                return original(*args, **kwargs)
            command = args[0] if args else kwargs.get("args", "")
            if not is_setup_command(command):
                with suppress(FileNotFoundError):
                    return original(*args, **kwargs)
            print(f"[not run while grading] {command}")
            return stand_in(command, kwargs)

        return run

    stand_ins: dict[str, Callable[..., Any]] = {
        "run": _build_completed,
        "call": lambda command, options: 0,
        "check_call": lambda command, options: 0,
        "check_output": lambda command, options: _make_empty_output(options),
    }
    for name, stand_in in stand_ins.items():
        wrap(subprocess, name, functools.partial(tolerant, stand_in=stand_in))
    wrap(os, "system", lambda original: _wrap_system(original, work))


def _build_completed(command: Any, options: dict[str, Any]) -> "subprocess.CompletedProcess[Any]":
    """A program that has said nothing and ended well; like the real one, it has no output where none was asked for."""
    said = {
        stream: _make_empty_output(options)
        for stream in ("stdout", "stderr")
        if options.get("capture_output") or options.get(stream) == subprocess.PIPE
    }
    return subprocess.CompletedProcess(command, 0, **said)


def _make_empty_output(options: dict[str, Any]) -> str | bytes:
    """No output: text where text was asked for, otherwise bytes."""
    return "" if any(options.get(name) for name in TEXT_OPTIONS) else b""


def _wrap_system(original: Any, work: str) -> Any:
    show = _line("!", result=0)

    def system(command: Any) -> Any:
        return show(command) if is_notebook_code(sys._getframe(1), work) else original(command)

    return system


def is_notebook_code(frame: FrameType, work: str) -> bool:
    """Whether code belongs to the notebook: to a cell, or to a module that lies in its folder `work`."""
    return frame.f_globals.get("__name__") == "__main__" or frame.f_code.co_filename.startswith(work + os.sep)


def is_setup_command(command: Any) -> bool:
    """Whether a command installs, downloads or looks for a GPU."""
    parts = command.split() if isinstance(command, str) else [str(part) for part in command]
    programs = {PurePath(part).name for part in parts[:3]}  # python -m pip, sudo apt-get
    return bool(programs & SET_UP)


def _prevent_restart() -> None:
    """`os.kill(os.getpid(), 9)` restarts a Colab runtime after an installation; here the notebook goes on."""
    kill = os.kill

    def send(pid: int, number: int) -> None:
        if pid == os.getpid() and number in FATAL:  # not SIGINT: that is how the kernel interrupts a cell
            print("[grading] the notebook goes on without a restart")
        else:
            kill(pid, number)

    os.kill = send
