"""What cells hold besides Python: magics, shell commands, questions to whoever sits there, and restarts."""

import builtins
import functools
import getpass
import io
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from grader.kernel.compat import commands, debuggers, demands, newer_syntax, plots, restarts, waiting
from grader.kernel.compat.missing_imports import ImportGuard
from grader.kernel.compat.restarts import IsOwn, find_notebook_code
from grader.kernel.fence import ShieldedTransformer, shield, tell
from grader.kernel.wrapping import wrap

INSTALLERS = ("pip", "conda", "mamba", "uv", "apt")
LINE_MAGICS = (*INSTALLERS, "env", "cd", "system", "sx", "debug", "pdb")
SHELL_CELLS = ("bash", "sh", "script", "system", "sx", "shell", "cmd", "perl", "ruby")  # their body is not Python
PAGE_CELLS = ("html", "javascript", "js", "latex", "markdown", "svg", "sql", "bigquery")
PROFILERS = ("memit", "mprun", "lprun")  # of packages that are not here; what they measure is run
PROFILER_OPTION = re.compile(r"\s*-(?:[fmDTurtS]\s+\S+|[szco]+)(?=\s)")
BARE = re.compile(
    r"(?P<indent>\s*)(?:pip3? install|conda install|apt(?:-get)? |wget +[-h]|git clone|nvidia-smi\b|ln -s)"
)
SET_UP = frozenset((
    *INSTALLERS, "pip3", "apt-get", "nvidia-smi", "wget", "curl", "git", "gdown", "kaggle", "unzip",
    "kill", "pkill", "killall", "reboot",
))  # fmt: skip
TEXT_OPTIONS = ("text", "universal_newlines", "encoding", "errors")  # of subprocess: output is text, not bytes
MAX_ANSWERS = 50  # a loop that asks until it hears something else must end


def tolerate(shell: Any) -> None:
    """Show what is not run, run the rest."""
    for name in LINE_MAGICS:
        shell.register_magic_function(_skip(f"%{name} "), "line", name)
    for name in (*SHELL_CELLS, *PAGE_CELLS):
        shell.register_magic_function(_skip(f"%%{name} "), "cell", name)
    for name in ("debug", *PROFILERS):
        shell.register_magic_function(_build_runner(shell), "cell", name)
    for name in PROFILERS:
        shell.register_magic_function(_build_statement_runner(shell), "line", name)
    shell.system = shell.system_piped = shell.system_raw = _skip("!")
    shell.getoutput = lambda command, *a, **k: commands.answer(shell.var_expand(command, depth=1))  # `!ls {folder}`
    shell.input_transformers_cleanup.append(comment_out)
    shell.input_transformers_post.append(newer_syntax.rewrite_cell)
    transformers = (demands.DemandRemover(), ImportGuard(), waiting.WaitingLoopEnder())
    shell.ast_transformers += map(ShieldedTransformer, transformers)
    _tolerate_unknown_magics(shell)
    plots.force_inline(shell)
    _answer_questions(shell)
    _stub_programs(find_notebook_code(shell))
    restarts.skip(shell)
    debuggers.continue_instead()
    waiting.cut_short(shell)


def _skip(label: str, result: Any = None) -> Callable[..., Any]:
    """Build a magic or a command that shows its line and does nothing."""

    @shield(lambda *args, **kwargs: result)
    def show(line: object = "", *args: Any, **kwargs: Any) -> Any:
        print(f"[grading] not run: {label}{line}")
        return result

    return show


def _tolerate_unknown_magics(shell: Any) -> None:
    """A magic of an extension that is not here: nothing for a line, and the cell below it is run."""
    original, others = shell._find_with_lazy_load, {"line": shell.find_cell_magic, "cell": shell.find_line_magic}

    run_below = _build_runner(shell)

    @shield(original)
    def find(kind: str, name: str) -> Any:
        found = original(kind, name)
        if found is not None or others[kind](name) is not None:
            return found
        return _skip(f"%{name} ") if kind == "line" else run_below

    shell._find_with_lazy_load = find


def _build_runner(shell: Any) -> Callable[[str, str], Any]:
    """Build a cell magic that does nothing but run the cell below it."""

    def run_below(line: str, cell: str) -> Any:
        return shell.run_cell(cell).raise_error()

    return run_below


def _build_statement_runner(shell: Any) -> Callable[[str], Any]:
    """Build a line magic that does nothing but run its statement, without the options before it."""

    def run_statement(line: str) -> Any:
        while option := PROFILER_OPTION.match(line):
            line = line[option.end() :]
        return shell.run_cell(line.strip()).raise_error()

    return run_statement


@shield(lambda lines: lines)
def comment_out(lines: list[str]) -> list[str]:
    """Comment out bare shell lines, such as `pip install x`, in the source of a cell (an input transformer)."""
    found = [(line, BARE.match(line)) for line in lines]
    return [f"{m['indent']}pass  # [grading] not run: {line.strip()}\n" if m else line for line, m in found]


def _answer_questions(shell: Any) -> None:
    """`input()` and `getpass()`: nobody is there, so yes where yes is offered, and 1 otherwise."""
    count = itertools.count(1)

    @shield(lambda *args, **kwargs: "1")
    def reply(prompt: object = "", *args: Any, **kwargs: Any) -> str:
        if next(count) > MAX_ANSWERS:
            raise tell(EOFError(f"input() is called over {MAX_ANSWERS} times, and while grading nobody can answer it"))
        given = answer(str(prompt))
        print(f"[grading] {prompt}{given}")
        return given

    builtins.input = getpass.getpass = reply
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:  # it puts its own in place before every cell
        kernel.raw_input = kernel.getpass = reply


def answer(prompt: str) -> str:
    """Return what to say to a prompt: a text that is a number as well."""
    return "y" if re.search(r"\b(?:y|yes)\b", prompt.lower()) else "1"


def _stub_programs(is_own: IsOwn) -> None:
    """Show installers, downloads and programs that are not here when the notebook's code calls them; all is well.

    Libraries call programs too, and know what to do where one is missing: matplotlib asks `fc-list` for fonts when it
    is imported. They get what the system says.
    """
    stand_ins: dict[str, Callable[..., Any]] = {
        "run": _build_completed,
        "call": lambda command, options: 0,
        "check_call": lambda command, options: 0,
        "check_output": lambda command, options: _make_output(command, options),
        "getoutput": lambda command, options: _make_output(command, {"text": True}),
        "getstatusoutput": lambda command, options: (0, _make_output(command, {"text": True})),
    }
    for name, stand_in in stand_ins.items():
        wrap(subprocess, name, functools.partial(_run_program, stand_in, is_own))
    wrap(os, "system", functools.partial(_run_system, is_own))
    wrap(os, "popen", functools.partial(_open_pipe, is_own))


def _run_program(stand_in: Callable[..., Any], is_own: IsOwn, original: Any, *args: Any, **kwargs: Any) -> Any:
    if not is_own(sys._getframe(2)):  # behind the frame of `wrap`
        return original(*args, **kwargs)
    command = args[0] if args else kwargs.get("args", kwargs.get("cmd", ""))
    if not is_setup_command(command):
        with suppress(FileNotFoundError):
            return original(*args, **kwargs)
    _skip("")(command)
    return stand_in(command, kwargs)


def _run_system(is_own: IsOwn, original: Any, command: Any) -> Any:
    run = _skip("!", result=0) if is_own(sys._getframe(2)) else original
    return run(command)


def _open_pipe(is_own: IsOwn, original: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
    """`os.popen("nvidia-smi ...").read()`. Other programs are run, and say themselves that they are not here."""
    if not (is_own(sys._getframe(2)) and commands.is_gpu_question(command)):
        return original(command, *args, **kwargs)
    _skip("")(command)
    return io.StringIO(commands.describe_gpu(command))


def _build_completed(command: Any, options: dict[str, Any]) -> "subprocess.CompletedProcess[Any]":
    """Build a program that ended well and printed nothing; as in a real one, output is None unless it is captured."""
    outputs = {
        stream: _make_output(command if stream == "stdout" else "", options)
        for stream in ("stdout", "stderr")
        if options.get("capture_output") or options.get(stream) == subprocess.PIPE
    }
    return subprocess.CompletedProcess(command, 0, **outputs)


def _make_output(command: Any, options: dict[str, Any]) -> str | bytes:
    """Make what a program prints: nothing, unless it is asked about the GPU."""
    text = commands.describe_gpu(command) if commands.is_gpu_question(command) else ""
    return text if any(options.get(name) for name in TEXT_OPTIONS) else text.encode()


def is_setup_command(command: Any) -> bool:
    """Return True if a command installs, downloads, looks for a GPU or ends the notebook's own process."""
    parts = command.split() if isinstance(command, str) else [str(part) for part in command]
    return bool({PurePath(part).name for part in parts[:3]} & SET_UP)  # python -m pip, sudo apt-get
