"""The cell that fetches the kit on Colab and Kaggle, run in a process that has the packages and no grader."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from grader.authoring.course import fill_notebook, read_course
from grader.authoring.kit import build_kit
from grader.authoring.template import derive_template, read_notebook
from grader.judging.tampering import find_tampering
from grader.paths import REFERENCE, ROOT

# Runs the cell and the one below the imports, then says what there is.
PROGRAM = """
import json, sys
cells = json.loads(sys.argv[1])
namespace = {"__name__": "__main__"}
for cell in cells:
    exec(cell, namespace)
from pathlib import Path
module = sys.modules.get("grader")
print(json.dumps([Path(module.__file__).parent.parent.name if module else None, namespace["check"].__module__]))
"""
SORRY = "There are no checks here"
OFFLINE = "http://127.0.0.1:9/finetuning-kit.zip"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of this machine that has the kit, and a page in place of another one."""
    folder = tmp_path_factory.mktemp("site")
    build_kit(ROOT, folder / "finetuning-kit.zip")
    (folder / "log-in.zip").write_text("<html>Please log in</html>", encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *args: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_cells(folder: Path, address: str) -> tuple[list[str | None], str]:
    """What there is after the cells, and what they printed. Raises CalledProcessError when one of them raises."""
    course = {**read_course(ROOT), "kit": address}
    cells = {cell.id: cell.source for cell in fill_notebook(derive_template(read_notebook(REFERENCE)), course).cells}
    command = [sys.executable, "-c", PROGRAM, json.dumps([cells["get-kit"], cells["import-check"]])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=True)
    printed, _, answer = done.stdout.strip().rpartition("\n")
    return json.loads(answer), printed


def test_the_checks_come_with_the_kit(site: str, tmp_path: Path) -> None:
    there, printed = run_cells(tmp_path, f"{site}/finetuning-kit.zip")
    assert (there[0], printed) == ("finetuning-kit", "")
    assert str(there[1]).startswith("grader.student")
    assert run_cells(tmp_path, f"{site}/finetuning-kit.zip")[0] == there, "the same after a restart"


@pytest.mark.parametrize(
    "address", [pytest.param("{site}/finetuning-kit.zip", id="online"), pytest.param(OFFLINE, id="without a network")]
)
def test_a_kit_that_is_there_stays_as_it_is(address: str, site: str, tmp_path: Path) -> None:
    there, _ = run_cells(tmp_path, f"{site}/finetuning-kit.zip")
    notebook = tmp_path / "finetuning-kit" / "assignment.ipynb"
    notebook.write_text("what a student has written", encoding="utf-8")
    assert run_cells(tmp_path, address.format(site=site)) == (there, "")
    assert notebook.read_text(encoding="utf-8") == "what a student has written"


def test_packages_that_cannot_be_installed_leave_the_checks(site: str, tmp_path: Path) -> None:
    there, _ = run_cells(tmp_path, f"{site}/finetuning-kit.zip")
    (tmp_path / "finetuning-kit" / "grader" / "packages.py").write_text("raise SystemExit(1)", encoding="utf-8")
    again, printed = run_cells(tmp_path, OFFLINE)
    assert again == there
    assert printed.startswith("The checks may not work here")


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("{site}/log-in.zip", id="a page to log in"),
        pytest.param("{site}/nothing.zip", id="not there"),
        pytest.param(OFFLINE, id="no server"),
        pytest.param("{site}/finetuning kit.zip", id="an address with a space"),
        pytest.param("the kit's page", id="no address"),
    ],
)
def test_a_kit_that_cannot_be_fetched_stops_nobody(address: str, site: str, tmp_path: Path) -> None:
    there, printed = run_cells(tmp_path, address.format(site=site))
    assert there == [None, "__main__"]
    assert printed.startswith(SORRY)
    assert printed.count("\n") == 0


def test_nobody_is_suspected_for_what_the_handout_gives() -> None:
    """A notebook that uses the grader's own code waits for a person to read it; the given cells must not do so."""
    filled = fill_notebook(
        derive_template(read_notebook(REFERENCE)), {**read_course(ROOT), "kit": "https://x.org/k.zip"}
    )
    assert find_tampering({n: cell.source for n, cell in enumerate(filled.cells) if cell.cell_type == "code"}) == []


def test_without_an_address_nothing_is_fetched(tmp_path: Path) -> None:
    assert run_cells(tmp_path, "")[1] == ""
    assert list(tmp_path.iterdir()) == []


def test_where_the_kit_is_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "grader").mkdir()
    (tmp_path / "grader" / "__init__.py").touch()
    assert SORRY not in run_cells(tmp_path, OFFLINE)[1]
    assert [path.name for path in tmp_path.iterdir() if path.name == "finetuning-kit"] == []
