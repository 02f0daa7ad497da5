"""Which weights stay when a notebook trains more models than the host takes files of."""

from pathlib import Path

import pytest
import torch

from grader.kernel.training import exports
from grader.kernel.training.exports import Exports
from grader.protocol.records import DataSeen, Entry, RowKeys, Training

FULL, FEW, HEAD, LORA = "full", "full on few reviews", "head", "lora"
ENTRIES = {
    FULL: Entry("M", trainable=9, total=9, trainable_names=("distilbert.x", "classifier.weight")),
    HEAD: Entry("M", trainable=2, total=9, trainable_names=("classifier.weight",)),
    LORA: Entry("M", trainable=4, total=9, trainable_names=("classifier.weight",), wrapped={"distilbert.x": "L"}),
}


def training(index: int, kind: str) -> Training:
    read = DataSeen(train=RowKeys(rows=10 if kind is FEW else 1_000, kind="tokens", keys=()))
    return Training(index, "Trainer", finished=True, entry=ENTRIES[FULL if kind is FEW else kind], data=read)


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        pytest.param([FULL, HEAD, LORA], [0, 1, 2], id="three steps"),
        pytest.param([FULL] * 5 + [HEAD, LORA], [3, 4, 5, 6], id="many rates: the last"),
        pytest.param([FULL, FEW, FEW, FEW, FEW], [0, 2, 3, 4], id="one that is not repeated stays"),
        pytest.param([HEAD, LORA, FULL, FULL, FULL], [0, 1, 3, 4], id="other steps stay"),
        pytest.param([FULL, FEW, HEAD, LORA, FEW], [0, 2, 3, 4], id="the earlier of two on few reviews"),
    ],
)
def test_earlier_versions_make_room(
    kinds: list[str], left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_BYTES", 4 * 400)
    kept = Exports()
    for index, kind in enumerate(kinds):
        kept.write(str(tmp_path), training(index, kind), {"w:x": torch.ones(100)})
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"training-{index}.safetensors" for index in left]


def test_what_no_other_repeats_stays_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host then refuses what is too much: no honest notebook has so large a head beside two other models."""
    monkeypatch.setattr(exports, "MAX_BYTES", 400)
    kept = Exports()
    for index, kind in enumerate([FULL, HEAD]):
        kept.write(str(tmp_path), training(index, kind), {"w:x": torch.ones(100)})
    assert len(list(tmp_path.iterdir())) == 2
