"""Downloads of the course's files, without a network."""

import urllib.request
from pathlib import Path

import pytest
import requests

from grader.kernel.compat import downloads
from grader.kernel.compat.files import InputFiles

ADDRESS = "https://course.example/a4/Train.csv?raw=true"
TEXT = "review,label\ngood,1\n"


@pytest.fixture(autouse=True)
def redirected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One data file that can be downloaded, until the test is over."""
    (tmp_path / "train.csv").write_text(TEXT, encoding="utf-8")
    for owner, name in ((urllib.request, "urlretrieve"), (requests, "get")):
        monkeypatch.setattr(owner, name, lambda url, *args, **kwargs: "asked the network")
    downloads.redirect(InputFiles({"train.csv": str(tmp_path / "train.csv")}, str(tmp_path)))


def test_urlretrieve(tmp_path: Path) -> None:
    saved, _ = urllib.request.urlretrieve(ADDRESS, tmp_path / "mine.csv")
    assert Path(saved).read_text(encoding="utf-8") == TEXT
    kept, _ = urllib.request.urlretrieve(ADDRESS)
    assert Path(kept).read_text(encoding="utf-8") == TEXT


def test_urlretrieve_onto_the_file_itself(tmp_path: Path) -> None:
    urllib.request.urlretrieve(ADDRESS, filename=str(tmp_path / "train.csv"))
    assert (tmp_path / "train.csv").read_text(encoding="utf-8") == TEXT


def test_requests() -> None:
    response = requests.get(ADDRESS, timeout=5)
    response.raise_for_status()
    assert (response.ok, response.text, response.content) == (True, TEXT, TEXT.encode())


def test_requests_piece_by_piece() -> None:
    with requests.get(url=ADDRESS, stream=True, timeout=5) as response:
        assert b"".join(response.iter_content(4)) == TEXT.encode()


@pytest.mark.parametrize("address", ["https://course.example/other.csv", "https://course.example/", None])
def test_other_addresses_are_asked_of_the_network(address: str | None) -> None:
    assert requests.get(address, timeout=5) == "asked the network"
    assert urllib.request.urlretrieve(address) == "asked the network"
