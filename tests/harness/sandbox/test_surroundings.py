"""The parts of the machine that a kernel is shown, and the advice to a person where a backend does not work."""

import os
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.paths import ROOT
from grader.sandbox import Backend, folders, remedies
from grader.sandbox.backends import landlock
from grader.sandbox.environment import list_library_folders
from grader.sandbox.walls import namespaces


def test_links_to_the_interpreter_are_there_too(tmp_path: Path) -> None:
    """As installers of Python make them: a short name for the folder of one version, a link in a folder of programs."""
    python = tmp_path / "versions" / "3.14.1" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.touch()
    short, program, environment = tmp_path / "versions" / "3.14", tmp_path / "bin" / "python3", tmp_path / "venv"
    for folder in (program.parent, environment):
        folder.mkdir()
    for link, target in ((short, "3.14.1"), (program, short / "bin" / "python3"), (environment / "python", program)):
        link.symlink_to(target)
    shown = (str(environment), str(python.parents[1]))
    found = namespaces._find_links(str(environment / "python"), shown, ())
    assert found == {str(program): str(short / "bin" / "python3"), str(short): "3.14.1"}


def test_a_folder_shown_by_a_link_needs_no_link_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "real" / "bin" / "python3").touch()
    for name, target in (("link", "real"), ("a", "b"), ("b", "a")):
        (tmp_path / name).symlink_to(target)
    shown = str(tmp_path / "link" / "bin")
    assert namespaces._find_links(f"{shown}/python3", (shown,), ()) == {}
    assert namespaces._find_links(str(tmp_path / "a"), (), ())


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        pytest.param("{0}/lib", ["{0}/lib"], id="libraries"),
        pytest.param("{0}/lib:{0}/lib:", ["{0}/lib"], id="twice, and an empty entry"),
        pytest.param("{0}/texts", [], id="nothing to load"),
        pytest.param("{0}/gone:lib:.", [], id="not there, or relative"),
        pytest.param("{0}:{0}/lib", ["{0}/lib"], id="the home folder"),
        pytest.param("{root}", [], id="the project"),
        pytest.param("", [], id="none"),
    ],
)
def test_folders_of_libraries(tmp_path: Path, named: str, shown: list[str]) -> None:
    for folder, file in (("lib", "libpython3.so.1"), ("texts", "notes.txt"), (".", "stray.so")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / file).touch()
    environ = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": named.format(tmp_path, root=ROOT)}
    assert list(list_library_folders(environ)) == [path.format(tmp_path) for path in shown]


def test_the_first_folder_that_keeps_others_out(tmp_path: Path) -> None:
    (tmp_path / "closed" / "open").mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o001)
    for mode, found in ((0o700, str(tmp_path / "closed")), (0o711, None)):
        (tmp_path / "closed").chmod(mode)
        assert namespaces.find_closed_folder(str(tmp_path / "closed" / "open" / "file")) == found


def test_sockets_lie_where_paths_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 76)
    long.mkdir()
    monkeypatch.setattr(folders.tempfile, "tempdir", str(long))
    with folders.open_socket_folder("kernel") as folder:
        assert folder.parent == Path("/tmp")
        assert len(str(folder / "listener-12345678")) <= 107
    monkeypatch.setattr(folders, "SHORT_PLACES", ("/nowhere",))
    with pytest.raises(GraderError, match="TMPDIR") as error:
        folders.find_short_place()
    assert str(folders.LONGEST_PLACE) in str(error.value)


UBUNTU, MOST = "kernel.apparmor_restrict_unprivileged_userns", "user.max_user_namespaces"


REMEDIES: dict[str, tuple[int, bool, dict[str, str], Backend, bool, str]] = {
    "root in a container": (0, False, {}, Backend.WARM, True, "--cap-add SYS_ADMIN"),
    "root": (0, True, {}, Backend.WARM, True, "Allow user namespaces"),
    "Ubuntu": (1000, False, {UBUNTU: "1"}, Backend.BUBBLEWRAP, True, f"sysctl {UBUNTU}=0"),
    "none at all": (1000, False, {MOST: "0"}, Backend.WARM, True, f"sysctl {MOST}=15000"),
    "no bubblewrap": (1000, False, {}, Backend.BUBBLEWRAP, False, "apt install bubblewrap"),
    "no container": (1000, False, {}, Backend.CONTAINER, False, "apt install podman"),
    "a container that does not run": (1000, False, {}, Backend.CONTAINER, True, "service running"),
    "no Landlock": (1000, False, {}, Backend.LANDLOCK, False, "Linux 5.13"),
    "root without any right": (0, False, {}, Backend.LANDLOCK, True, "become another user"),
    "something else": (0, True, {}, Backend.LANDLOCK, True, ""),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_remedies(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user, may, settings, backend, installed, words = REMEDIES[case]
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(remedies, "_has_capabilities", lambda *capabilities: may)
    monkeypatch.setattr(landlock, "get_version", lambda: 7 if installed else 0)
    monkeypatch.setattr(remedies, "_read_setting", lambda name: settings.get(name, ""))
    found = remedies.suggest_remedy(backend, installed)
    assert words in found
    assert bool(found) is bool(words)
