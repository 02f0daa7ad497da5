"""Names that lead nowhere without a network: what the student reads, and what is found all the same."""

from pathlib import Path
from typing import Any

import evaluate
import pytest
from huggingface_hub import constants

from grader.assets import metrics
from grader.assets.hub import SAME_VOCABULARY
from grader.assignment import MODEL_NAMES
from grader.kernel.compat import hub_names
from grader.kernel.compat.files import InputFiles
from grader.kernel.wrapping import wrap

MISSING = {
    "cased": ("distilbert-base-cased", "'distilbert-base-cased', whose cased vocabulary gives other token ids"),
    "cased, of an owner": ("google-bert/bert-base-cased", "cased vocabulary gives other token ids. Expected"),
    "multilingual": ("distilbert-base-multilingual-cased", "cased vocabulary"),
    "letter missing": (
        "distilbert-base-uncase",
        "there is no model 'distilbert-base-uncase'. Expected 'distilbert-base-",
    ),
    "letter doubled": ("distillbert-base-uncased", "correct the name"),
    "owner doubled": ("distilbert/distilbert-base-uncasd", "there is no model 'distilbert/distilbert-base-uncasd'"),
    "underscores": ("distilbert_base_uncased", "correct the name"),
    "another model": (
        "roberta-base",
        "the grader does not have 'roberta-base'. Expected 'distilbert-base-uncased', the model",
    ),
    "of a student": ("anna/lab4", "the grader does not have 'anna/lab4', nor is it a folder"),
    "folder": (
        "./finetuned/full",
        "there is no folder './finetuned/full': nothing is saved there before this line. Save",
    ),
    "folder of Windows": ("out\\full", "there is no folder"),
    "folder above": ("../models/head", "there is no folder '../models/head'"),
    "checkpoint": ("results/full/checkpoint-250", "leaves no checkpoint of this step"),
}


class Model:
    """A class that needs a network for what is asked of it."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **kwargs: Any) -> Any:
        if not Path(pretrained_model_name_or_path).exists():
            raise OSError("We couldn't connect to 'https://huggingface.co'. Check your internet connection")
        return pretrained_model_name_or_path


class EmptyTokenizer(Model):
    """A class that makes do with no vocabulary, as those of transformers 5 do."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **kwargs: Any) -> Any:
        return pretrained_model_name_or_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache with the names of the prepared one, an empty working folder, and both classes behind the names."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in (*MODEL_NAMES, *SAME_VOCABULARY):
        (tmp_path / "hub" / f"models--{name.replace('/', '--')}").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    files = InputFiles({"train.csv": str(tmp_path / "train.csv")}, str(tmp_path / "work"))
    for cls in (Model, EmptyTokenizer):
        monkeypatch.setattr(cls, "from_pretrained", cls.__dict__["from_pretrained"])  # to be undone
        wrap(cls, "from_pretrained", lambda *args, **kwargs: hub_names._load_pretrained(files, *args, **kwargs))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("cls", [Model, EmptyTokenizer])
@pytest.mark.parametrize(("name", "part"), MISSING.values(), ids=MISSING)
def test_a_name_that_is_not_here(cls: type[Model], name: str, part: str) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the message follows
        cls.from_pretrained(name)
    message = str(raised.value)
    assert part in message
    assert "'distilbert-base-uncased'" in message
    assert not {"network", "internet", "huggingface.co"} & set(message.split())
    assert not message.endswith(".")  # what reports it goes on


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", [*MODEL_NAMES, *SAME_VOCABULARY])
def test_a_tokenizer_with_the_right_vocabulary(name: str) -> None:
    assert EmptyTokenizer.from_pretrained(name, revision="6cdc0aa") == name


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", SAME_VOCABULARY)
def test_a_model_of_which_only_the_tokenizer_is_here(name: str) -> None:
    with pytest.raises(OSError, match=f"the tokenizer of '{name}', not the model"):
        Model.from_pretrained(name)


@pytest.mark.usefixtures("offline")
def test_folders_that_are_here() -> None:
    Path("out/checkpoint-2").mkdir(parents=True)
    Path("out/checkpoint-16").mkdir()
    assert Model.from_pretrained("out") == "out"
    assert Model.from_pretrained("out/checkpoint-250") == "out/checkpoint-16"
    with pytest.raises(OSError, match=r"the folder 'out' holds no tokenizer. Save it there"):
        EmptyTokenizer.from_pretrained("out")
    Path("out/tokenizer.json").touch()
    assert EmptyTokenizer.from_pretrained("out") == "out"


COPIES = {
    "of Kaggle": "/kaggle/input/distilbert-base-uncased",
    "of Kaggle, as it shortens names": "../input/distilbertbaseuncased/",
    "of Kaggle's models": "/kaggle/input/distilbert-base-uncased/pytorch/default/1",
    "below": "models/distilbert_base_uncased",
    "here": "./distilbert-base-uncased",
    "as a path": Path("/kaggle/input/distilbert-base-uncased"),
    "of Windows": "C:\\models\\DistilBERT-base-uncased",
}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("folder", COPIES.values(), ids=COPIES)
def test_a_copy_of_the_model_on_another_machine(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert EmptyTokenizer.from_pretrained(folder) == "distilbert-base-uncased"
    assert "the pretrained model 'distilbert-base-uncased' takes its place" in capsys.readouterr().out
    with pytest.raises(OSError, match="couldn't connect"):  # so it looks for the name, too
        Model.from_pretrained(folder)


@pytest.mark.usefixtures("offline")
def test_a_folder_of_the_models_name_that_is_here() -> None:
    Path("out/distilbert-base-uncased").mkdir(parents=True)
    assert Model.from_pretrained("out/distilbert-base-uncased") == "out/distilbert-base-uncased"
    with pytest.raises(OSError, match="leaves no checkpoint of this step"):
        Model.from_pretrained("out/distilbert-base-uncased/checkpoint-500")


METRICS = {
    "slip of the pen": ("acuracy", "there is no metric 'acuracy'. Expected 'accuracy'; correct the name"),
    "capital letter": ("Acccuracy", "Expected 'accuracy'"),
    "another metric": (
        "rouge",
        "does not have the metric 'rouge'. Expected 'accuracy'; the grader has only accuracy, pre",
    ),
    "of an owner": ("anna/bleu", "does not have the metric 'anna/bleu'"),
}


@pytest.mark.parametrize("kind", [FileNotFoundError, ConnectionError])
@pytest.mark.parametrize(("name", "part"), METRICS.values(), ids=METRICS)
def test_a_metric_that_is_not_here(
    name: str, part: str, kind: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: str) -> None:
        raise kind("Couldn't reach the Hub")

    monkeypatch.setattr(evaluate, "load", load)
    monkeypatch.chdir(tmp_path)
    wrap(evaluate, "load", hub_names._load_metric)
    with pytest.raises(FileNotFoundError) as raised:
        evaluate.load(name)
    assert part in str(raised.value)


def test_the_listed_metrics_are_those_that_are_prepared() -> None:
    assert hub_names.METRICS == metrics.METRICS


@pytest.mark.parametrize("name", ["rotten_tomatoes", "stanfordnlp/sst2", "cornell-movie-review-data/rotten_tomatoes"])
def test_a_public_data_set_is_none_of_the_courses(name: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=f"does not have the data set '{name}'. Expected the course's reviews, tr"
    ):
        hub_names.refuse_data_set(name, InputFiles({"train.csv": "/job/train.csv"}))


@pytest.mark.parametrize("name", ["anna/dat450-reviews", "/kaggle/input/reviews"])
def test_what_the_courses_files_stand_for_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    hub_names.refuse_data_set(name, InputFiles({"train.csv": "/job/train.csv"}))
    assert (
        f"no data set or folder '{name}' here; the course's files take its place: train.csv" in capsys.readouterr().out
    )
