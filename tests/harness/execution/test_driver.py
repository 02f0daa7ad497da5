"""Real kernels, tiny notebooks, small limits, in the backend that isolates nothing: the end of each cell."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grader.execution import broker
from grader.execution import driver as driving
from grader.execution.broker import BrokerRequest, Report
from grader.execution.driver import Limits
from grader.execution.progress import SilentListener
from grader.execution.record import ProbeOutcome
from grader.model import Method, RunStatus
from grader.protocol import events
from grader.sandbox import Backend, SandboxPolicy, select

KEY, DIGEST = "of this run", "0" * 64
LIMITS = Limits(ready_s=120, cell_s=60, notebook_s=120, probe_s=60, interrupt_s=10)
TIGHT = Limits(ready_s=120, cell_s=2, notebook_s=120, probe_s=2, interrupt_s=10)


@dataclass
class Watcher(SilentListener):
    """Keeps what it is told."""

    steps: list[tuple[Method, int, int]] = field(default_factory=list)

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        self.steps.append((method, step, steps))


@dataclass
class Run:
    """The facts known after a run."""

    report: Report
    watcher: Watcher
    executed: nbformat.NotebookNode

    def __post_init__(self) -> None:
        self.status = self.report.status
        self.statuses = [cell.status for cell in self.report.cells]
        self.outputs = [cell.output for cell in self.report.cells]


Go = Callable[..., Run]


@pytest.fixture
def run(tmp_path: Path) -> Go:
    """Run cells in a kernel without any preparation, and see that no kernel is left."""

    def go(*cells: str, limits: Limits = LIMITS, probes: tuple[tuple[str, str], ...] = (), bootstrap: str = "1") -> Run:
        folders = {name: str(tmp_path / name) for name in ("job", "evidence", "output")}
        for folder in folders.values():
            Path(folder).mkdir()
        with select(SandboxPolicy(wall_s=300), only=Backend.NONE) as sandbox:
            notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
            rest = {"environ": {}, "bootstrap": bootstrap, "probes": probes, "limits": asdict(limits)}
            order = BrokerRequest(notebook=notebook, ticket=sandbox.ticket(), key=KEY, **folders, **rest)
            watcher = Watcher()
            report = broker.run(order, watcher, limits.total_s)
        family = psutil.Process().children(recursive=True)
        assert not [process for process in family if "ipykernel_launcher" in " ".join(process.cmdline())]
        return Run(report, watcher, nbformat.read(tmp_path / "output" / broker.EXECUTED, 4))

    return go


def test_an_error_does_not_stop_later_cells(run: Go) -> None:
    ended = run("x = 1\nprint('one')", "1 / 0", "", "print(x)")
    assert ended.status is RunStatus.STUDENT_ERROR
    cells = [(cell.index, cell.status, cell.output) for cell in ended.report.cells]
    assert cells == [(0, "ok", "one\n"), (1, "error", ""), (3, "ok", "1\n")]
    assert "ZeroDivisionError" in ended.report.cells[1].traceback


STUBBORN = "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except BaseException:\n        pass"
ASLEEP = "import time; time.sleep(600)"
TALKING = "import time\nwhile True:\n    print(0, flush=True); time.sleep(.1)"


@pytest.mark.parametrize(
    ("cell", "limits", "statuses"),
    [
        pytest.param("while True: pass", TIGHT, ["timeout", "ok"], id="busy"),
        pytest.param(ASLEEP, TIGHT, ["timeout", "ok"], id="asleep"),
        pytest.param(TALKING, TIGHT, ["timeout", "ok"], id="talking"),
        pytest.param(STUBBORN, replace(TIGHT, interrupt_s=2), ["timeout"], id="swallows the interrupt: given up"),
        pytest.param(ASLEEP, replace(LIMITS, notebook_s=2), ["timeout"], id="limit of the whole notebook"),
    ],
)
def test_a_cell_beyond_a_limit_is_interrupted(run: Go, cell: str, limits: Limits, statuses: list[str]) -> None:
    ended = run(cell, "print('later')", limits=limits)
    assert (ended.status, ended.statuses) == (RunStatus.TIMEOUT, statuses)
    assert ended.outputs[1:] == ["later\n"] * statuses.count("ok")


ALL_TRAINED = f"""
for index, method in enumerate(("full", "head", "lora")):
    for kind in ("training_begin", "training_end"):
        fields = {{"kind": kind, "index": index, "method": method, "key": {KEY!r}, "sha256": {DIGEST!r}}}
        display({{{events.MIME!r}: fields}}, raw=True)
"""


@pytest.mark.parametrize(
    ("limits", "status", "statuses"),
    [
        pytest.param(replace(LIMITS, silent_s=1), RunStatus.STUDENT_ERROR, ["ok", "timeout", "ok"], id="silent"),
        pytest.param(replace(TIGHT, silent_s=60), RunStatus.STUDENT_ERROR, ["ok", "timeout", "ok"], id="too long"),
    ],
)
def test_below_the_last_training_nothing_is_waited_for(
    run: Go, limits: Limits, status: RunStatus, statuses: list[str]
) -> None:
    ended = run(ALL_TRAINED, ASLEEP, "print('later')", limits=limits)
    assert (ended.status, ended.statuses, ended.outputs[2]) == (status, statuses, "later\n")


def test_a_cell_above_the_last_training_may_be_silent(run: Go) -> None:
    assert run("import time; time.sleep(2)", ALL_TRAINED, limits=replace(LIMITS, silent_s=1)).statuses == ["ok", "ok"]


DEADLY = ["import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)", "import ctypes; ctypes.string_at(0)"]


@pytest.mark.parametrize("cell", DEADLY, ids=["exit", "killed", "segmentation fault"])
def test_a_kernel_that_dies(run: Go, cell: str) -> None:
    ended = run("print('before')", cell, "print('after')")
    assert (ended.status, ended.report.reason) == (RunStatus.KERNEL_DIED, "the kernel died in cell 2")
    assert (ended.statuses, ended.outputs[0]) == (["ok", "error"], "before\n")


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("while True: print('x' * 1000)", id="many lines"),
        pytest.param("print('x' * 10**8)", id="one long line"),
        pytest.param("while True: display({'text/plain': 'x' * 10**6}, raw=True)", id="displays"),
        pytest.param("raise ValueError('x' * 10**8)", id="an error message"),
    ],
)
def test_a_flood_of_output_ends_the_run(run: Go, cell: str) -> None:
    ended = run(cell, "print('later')")
    assert ended.status is RunStatus.OUTPUT_LIMIT
    assert all(len(text) <= driving.MAX_CELL_TEXT + 10 for text in ended.outputs)


def test_long_outputs_within_the_limit_are_cut(run: Go) -> None:
    ended = run("for i in range(300):\n    display(i)", "print('x' * 10**6)", "print('later')")
    assert ended.statuses == ["ok"] * 3
    assert len(ended.executed.cells[0].outputs) <= driving.MAX_OUTPUTS_PER_CELL
    assert ended.outputs[1].endswith("[cut]")
    assert ended.outputs[2] == "later\n"


def event(**fields: object) -> str:
    given = {"key": KEY, "sha256": DIGEST, **fields}
    return f"from IPython.display import display; display({{{events.MIME!r}: {given!r}}}, raw=True)"


WIDE = "print('\\U0001F600' + 'x' * 900_000)"


def test_wide_characters_count_as_what_they_take(run: Go) -> None:
    """Four bytes for each letter of a text with an emoji in it."""
    ended = run(f"for _ in range(4): {WIDE}", *[WIDE] * 5, "print('later')")
    sizes = [sum(len(output.text) for output in cell.outputs) for cell in ended.executed.cells]
    assert (ended.status, ended.outputs[-1][-6:]) == (RunStatus.OK, "later\n")
    assert 4 * sizes[0] < driving.MAX_CELL_BYTES + 8 * driving.MAX_CELL_TEXT
    assert 4 * sum(sizes) < driving.MAX_HELD_BYTES + 50 * driving.MAX_CELL_TEXT


def test_what_is_recorded_of_all_cells_is_bounded(run: Go) -> None:
    cells = ["print('x' * 30_000)"] * 60 + ["print('y' * 100)"]
    ended = run(*cells)
    assert sum(map(len, ended.outputs)) < driving.MAX_RECORDED + 60 * (driving.LEAST_RECORDED + 10)
    assert (len(ended.outputs[0]), ended.outputs[-1]) == (driving.MAX_CELL_TEXT + 6, "y" * 100 + "\n")


def test_events_reach_the_listener_and_not_the_notebook(run: Go) -> None:
    begin = event(kind="training_begin", index=0, method="head")
    ended = run("1", begin, event(kind="training_step", index=0, step=3, steps=64))
    assert [cell.outputs for cell in ended.executed.cells[1:]] == [[], []]
    assert (ended.report.training_cells, ended.watcher.steps) == ({0: 1}, [(Method.HEAD, 3, 64)])


FORGED: list[dict[str, object]] = [{"kind": "training_begin", "index": index} for index in (-1, True, 10**12)]
FORGED += [{"kind": "training_step", "step": step, "steps": steps} for step, steps in (("1", None), (1, 10**12))]
FORGED += [{"kind": ["training_begin"], "index": 0}, {}]
FORGED += [{"kind": "training_begin", "index": 0, "key": key} for key in ("of another run", None, [])]


def test_forged_events_are_ignored(run: Go) -> None:
    forged_method = event(kind="training_begin", index=0, method=["full"])
    ended = run(*(event(**fields) for fields in FORGED), "print('later')", forged_method)
    assert ended.status is RunStatus.OK
    found = ended.report.training_cells, ended.watcher.steps, ended.outputs[-2]
    assert found == ({0: len(FORGED) + 1}, [], "later\n")


SEND = """
from IPython import get_ipython
kernel = get_ipython().kernel
kernel.session.send(kernel.iopub_socket, {kind!r}, {content}, parent=kernel.get_parent("shell"))
import time; time.sleep(600)
"""


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param("stream", "{'name': 'stdout', 'text': 5}", id="text is a number"),
        pytest.param("stream", "{}", id="nothing in it"),
        pytest.param("display_data", "{'data': [], 'metadata': {}}", id="data is a list"),
        pytest.param("error", "{'ename': 'E', 'evalue': '', 'traceback': [1]}", id="traceback of numbers"),
    ],
)
def test_messages_that_no_kernel_sends(run: Go, kind: str, content: str) -> None:
    assert run(SEND.format(kind=kind, content=content)).status is RunStatus.PROTOCOL_VIOLATION


TREES = [
    pytest.param("[{}] * 900_000", id="many objects"),
    pytest.param("[['ab', 'cd']] * 200_000", id="many texts"),
    pytest.param("functools.reduce(lambda x, _: {'a': x}, range(480), {})", id="deep"),
]


@pytest.mark.parametrize("tree", TREES)
def test_trees_are_not_kept(run: Go, tree: str) -> None:
    show = f"import functools; display({{'application/json': {tree}, 'text/plain': 'x'}}, raw=True)"
    ended = run(show, show, show, "print('later')")
    assert (ended.status, ended.statuses, ended.outputs[3]) == (RunStatus.OK, ["ok"] * 4, "later\n")
    assert all("[not kept: " in output for output in ended.outputs[:3])


LARGE = [
    pytest.param("from IPython.display import JSON; JSON([[1] * 60] * 1_000)", RunStatus.OK, id="as the last line"),
    pytest.param(
        "class E(Exception): _render_traceback_ = lambda self: ['x'] * 60_000\nraise E",
        RunStatus.STUDENT_ERROR,
        id="as the lines of a traceback",
    ),
]


@pytest.mark.parametrize(("cell", "status"), LARGE)
def test_large_results_are_not_kept(run: Go, cell: str, status: RunStatus) -> None:
    ended = run(cell, "print('later')")
    assert (ended.status, ended.outputs[1]) == (status, "later\n")
    assert "[not kept: a tree" in ended.report.cells[0].output + ended.report.cells[0].error


PAGE = "from IPython.display import HTML, Javascript; display(HTML('<script>1</script>ok<img src=x>'), Javascript('1'))"


def test_nothing_in_the_executed_notebook_runs(run: Go) -> None:
    """Nor in that of a run whose kernel was lost."""
    ended = run(PAGE, "import os, ctypes; ctypes.CDLL(None)._exit(3)")
    kinds = [kind for output in ended.executed.cells[0].outputs for kind in output.data]
    assert (ended.status, kinds, ended.outputs[0].split()[0]) == (RunStatus.KERNEL_DIED, ["text/plain"] * 2, "ok")


SURROGATE = """
kernel = get_ipython().kernel
def send(kind, content):
    parent = kernel.get_parent("shell")["header"]
    parts = [kernel.session.pack(kernel.session.msg_header(kind)), kernel.session.pack(parent), b"{}", content]
    kernel.iopub_socket.send_multipart([b"<IDS|MSG>", kernel.session.sign(parts), *parts])
send("stream", b'{"name": "stdout", "text": "a\\\\ud800b"}')
send("error", b'{"ename": "E", "evalue": "\\\\ud800", "traceback": ["\\\\ud800"]}')
"""
BAD_NAME = "import os; open(os.environ['SANDBOX_EVIDENCE'].encode() + b'/\\x80', 'w').close()"


def test_texts_that_are_no_unicode_are_the_notebooks(run: Go) -> None:
    """They must not look like a broker that was lost, which would be the grader's fault."""
    ended = run(SURROGATE, BAD_NAME)
    assert (ended.status, ended.outputs[0]) == (RunStatus.STUDENT_ERROR, "a?b")
    assert [cell.error for cell in ended.report.cells] == ["E: ?", ""]
    assert ended.report.refused == ("?: unsuitable name",)


@pytest.mark.parametrize(
    ("above", "source", "name"),
    [
        pytest.param(["## Step 1: All", "### 1.3 Count ##\ntext"], "x = 1", "1.3 Count", id="the heading above"),
        pytest.param(["### 1.3 Count", "no heading"], "x = 1", "1.3 Count", id="text between"),
        pytest.param([], "# why\n\nraise NotImplementedError('x')\ny = 2", "y = 2", id="the first line that tells"),
        pytest.param([], "raise NotImplementedError('x')", "raise NotImplementedError('x')", id="nothing else"),
    ],
)
def test_a_cell_has_a_name_for_whoever_waits(above: list[str], source: str, name: str) -> None:
    cells = [*map(new_markdown_cell, above), new_code_cell(source)]
    assert driving.name_cell(cells, len(above)) == name


def test_probes(run: Go) -> None:
    probes = (("good", "x"), ("bad", "1 / 0"), ("slow", "while True: pass"), ("last", "x"))
    ended = run("x = 1", limits=Limits(ready_s=120, probe_s=2, interrupt_s=10), probes=probes)
    answered, failed, late = ProbeOutcome.ANSWERED, ProbeOutcome.FAILED, ProbeOutcome.TIMEOUT
    assert ended.report.probes == {"good": answered, "bad": failed, "slow": late, "last": answered}
    assert len(ended.report.cells) == 1


def test_a_kernel_that_dies_in_a_probe(run: Go) -> None:
    ended = run("x = 1", probes=(("count", "import os; os._exit(0)"), ("lora", "1")))
    assert ended.report.reason == "the kernel died when asked about count"
    assert ended.report.probes["lora"] is ProbeOutcome.NOT_RUN


UNPREPARED = {
    "import nowhere": "ModuleNotFoundError: No module named 'nowhere'",
    "while True: pass": "it took too long",
}


@pytest.mark.parametrize(("bootstrap", "reason"), UNPREPARED.items(), ids=["error", "endless"])
def test_a_preparation_that_fails_is_the_graders_fault(run: Go, bootstrap: str, reason: str) -> None:
    ended = run("x = 1", bootstrap=bootstrap, limits=replace(LIMITS, ready_s=15))
    assert ended.status is RunStatus.INFRA_ERROR
    assert ended.report.reason == f"the kernel could not be prepared: {reason}"


def test_answers_of_a_probe_count_when_the_kernel_has_answered(run: Go) -> None:
    written = [event(kind="written", name=f"probe-{family}.json") for family in ("count", "lora", "extract")]
    early = event(kind="written", name="probe-replace.json")
    probes = (("count", written[0]), ("lora", f"{written[1]}; 1 / 0"), ("extract", f"{written[2]}; {DEADLY[2]}"))
    ended = run(early, probes=probes)
    assert ended.report.written == {("probe-count.json", DIGEST)}
    assert ended.report.foreign_events == 1


def test_children_of_the_kernel_end_with_it(run: Go) -> None:
    start = "subprocess.Popen(['sleep', '600'], start_new_session={})"
    run(f"import subprocess; {start.format(False)}; {start.format(True)}")  # the fixture looks for them


TRAINED = f"""
METHODS = "full", "head", "lora"
from IPython.display import display
def told(*kinds, index=0, method="full"):
    for kind in kinds:
        fields = {{"kind": kind, "index": index, "method": method, "key": {KEY!r}, "sha256": {DIGEST!r}}}
        display({{{events.MIME!r}: fields}}, raw=True)
"""
TRAIN = "told('training_begin', 'training_end')"
TRAIN_ALL = "for i, name in enumerate(METHODS): told('training_begin', 'training_end', index=i, method=name)"
MEASURE = [TRAINED, "told('training_begin'); metric()", "def metric(): print('measured')"]


@pytest.mark.parametrize(
    ("cells", "outputs"),
    [
        pytest.param(["use()", "def use(): print('used')"], ["used\n", ""], id="function"),
        pytest.param(["print(math.floor(2.5))", "import math"], ["2\n", ""], id="import"),
        pytest.param(["print(x)", "!true\nx = 1"], ["1\n", ""], id="beside a command"),
        pytest.param(["print(a + b)", "a = 1", "b = 2"], ["3\n", "", ""], id="two names"),
        pytest.param(["y = f()", "print(y)", "def f(): return 1"], ["", "1\n", ""], id="a cell that waits for another"),
        pytest.param(["n = 0", "n += 1; print(m)", "print(n)", "m = 7"], ["", "7\n", "1\n", ""], id="others run once"),
        pytest.param(MEASURE, ["", "measured\n", ""], id="a training that broke off"),
    ],
)
def test_a_cell_that_came_too_early_runs_again(run: Go, cells: list[str], outputs: list[str]) -> None:
    ended = run(*cells)
    assert (ended.status, ended.outputs) == (RunStatus.OK, outputs)
    early = [cell.first_error for cell in ended.report.cells if cell.first_error]
    assert early
    assert all(error.startswith("NameError: name ") for error in early)


SHOWN = "display(1, 2, display_id='table')\nprint(x)"


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([SHOWN, "x = 1"], id="in a cell that runs again"),
        pytest.param(["print(x)\n" + SHOWN.partition("\n")[0], "x = 1", SHOWN], id="in another cell, too"),
        pytest.param(
            [SHOWN, "x = 1", "from IPython.display import update_display; update_display(3, display_id='table')"],
            id="changed from another cell",
        ),
    ],
)
def test_a_display_with_a_fixed_name_may_be_made_again(run: Go, cells: list[str]) -> None:
    ended = run(*cells)
    assert (ended.status, set(ended.statuses)) == (RunStatus.OK, {"ok"})


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(["print(nowhere)"], id="a name that nothing defines"),
        pytest.param(["x = 1", "del x", "print(x)"], id="a name defined further up"),
        pytest.param(["print(x)", "def f():\n    x = 1"], id="a name of a function's own"),
        pytest.param(["print(x)", "x = ("], id="a name in what is no Python"),
        pytest.param(["x + 1; 1 / 0", "x = 1"][::-1], id="another error"),
        pytest.param([TRAINED, f"{TRAIN}; plot()", "def plot(): pass"], id="a cell in which a training ended"),
        pytest.param([TRAINED, TRAIN_ALL, "plot()", "def plot(): pass"], id="all methods trained"),
    ],
)
def test_other_failing_cells_do_not_run_again(run: Go, cells: list[str]) -> None:
    ended = run(*cells)
    assert ended.statuses.count("error") >= 1
    assert [cell for cell in ended.report.cells if cell.first_error] == []


def test_a_cell_that_fails_again_stays_failed(run: Go) -> None:
    report = run("use()", "def use(): return 1 / 0").report
    assert (report.status, report.cells[0].error) == (RunStatus.STUDENT_ERROR, "ZeroDivisionError: division by zero")
    assert report.cells[0].first_error == "NameError: name 'use' is not defined"
