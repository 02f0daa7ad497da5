"""`python -m grader.assets prepare`, the inventory, and the choice of precision."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from grader.assets import __main__ as command
from grader.assets import standin
from grader.machine import precision
from grader.machine.inventory import Finding, Status, take_inventory


def variables(cache: Path, **others: str) -> Mapping[str, str]:
    return {"A4_CACHE": str(cache), **others}


def find(what: str, root: Path, environ: Mapping[str, str]) -> Finding:
    return next(row for row in take_inventory(root, environ) if row.what == what)


def test_prepare_says_what_there_is_or_what_is_wrong(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setenv("A4_CACHE", str(prepared))
    monkeypatch.delenv("A4_DATA", raising=False)
    assert command.main(["prepare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", "metrics", "reviews"]
    assert standin.choose_standin().name in lines[0]
    assert "synthetic" in lines[2]
    monkeypatch.setenv("A4_DATA", str(tmp_path / "nowhere"))
    assert command.main(["prepare"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("download", "data", "asked"),
    [(True, False, True), (False, False, False), (True, True, False)],
    ids=["asked, none here", "not asked", "asked, some here"],
)
def test_download_only_when_asked_and_needed(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool, data: bool, asked: bool
) -> None:
    if data:
        folder = tmp_path / "data" / "imdb"
        folder.mkdir(parents=True)
        for name in ("train", "eval", "heldout"):
            (folder / f"{name}.csv").write_text(f"review,label\n{name} a,0\n{name} b,1\n", encoding="utf-8")
    folders: list[Path] = []
    monkeypatch.setattr(command, "download_reviews", folders.append)
    list(command.prepare(tmp_path, variables(prepared), download))
    assert folders == ([tmp_path / "data" / "imdb"] if asked else [])


@pytest.mark.parametrize(
    ("what", "fresh"),
    [
        *(("python", Status.OK), ("packages", Status.OK), ("metrics", Status.WARNING)),
        *(("model (structure, quick)", Status.WARNING), ("reviews", Status.WARNING)),
    ],
)
def test_inventory_before_and_after(prepared: Path, tmp_path: Path, what: str, fresh: Status) -> None:
    ready = Status.WARNING if what == "reviews" else Status.OK  # synthetic
    for cache, expected in ((tmp_path / "none", fresh), (prepared, ready)):
        finding = find(what, tmp_path, variables(cache))
        assert finding.status == expected
        assert bool(finding.hint) == (expected is not Status.OK)
    assert not (tmp_path / "none").exists()


def test_inventory_names_broken_data(prepared: Path, tmp_path: Path) -> None:
    finding = find("reviews", tmp_path, variables(prepared, A4_DATA=str(tmp_path / "nowhere")))
    assert (finding.status, "A4_DATA" in finding.hint) == (Status.MISSING, True)


def test_bfloat16_has_to_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.measure_product_s(torch.float32) > 0
    for bfloat16_s, fast in ((0.001, True), (0.009, False), (0.500, False)):  # matrix units, about the same, emulated
        times_s = {torch.float32: 0.010, torch.bfloat16: bfloat16_s}
        monkeypatch.setattr(precision, "measure_product_s", times_s.__getitem__)
        assert precision.has_fast_bfloat16.__wrapped__() == fast
