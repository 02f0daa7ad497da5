"""Packages that Colab has and the machine that grades lacks: no mistake of the student's, so a person decides.

What the list does not name (a misspelt module, a file that was not handed in) stays a mistake of the notebook.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from grader.evidence.reader import Evidence
from grader.judging.runner import Judgement
from grader.judging.suite import join_words
from grader.model import Verdict

COMPLETES: Final = "run.completes"
MESSAGE: Final = (
    "The notebook uses a package that the machine which graded it lacks ({}). That is not your mistake: a person "
    "decides about this check, and until then it costs nothing."
)
NOTE: Final = (
    "The notebook needs {}, which the grader's environment lacks. Add it to requirements.lock, run `make setup` and "
    "grade the notebook again, or read the notebook and give the points with an override."
)

MISSED: Final = re.compile(r"No module named '(\w+)")
# Names under which packages of Colab, or popular ones besides, are imported; not those that do LoRA for the student.
# Some are installed here today.
NAMES: Final = """
    absl albumentations altair annoy astropy autogluon av beartype bertviz bigframes bitsandbytes bokeh bs4 calflops
    captum catalogue catboost chainer contractions cupy cv2 cvxpy deepspeed dgl diffusers diskcache docx duckdb easydict
    editdistance einops eli5 emoji en_core_web_sm faiss fastai fastapi fastcore fasttext fire flair flash_attn flask
    flax folium ftfy fvcore gensim geopandas google gradio graphviz gspread h5py haiku hdbscan holoviews hydra hyperopt
    icecream ignite igraph imageio imblearn inflect ipympl ipyparallel ipywidgets jax jaxlib jaxtyping jieba jiwer
    kaleido keras keras_hub keras_nlp keras_tuner langchain langdetect langid lightgbm lightning lime lion_pytorch
    litellm llama_index lmdb loguru lxml markdown missingno mizani mlxtend modin moviepy nest_asyncio nevergrad nlpaug
    nltk notebook numba numexpr omegaconf onnx onnxruntime openai openpyxl opt_einsum optax optimum optuna
    pandas_profiling pandera papermill patsy peewee pingouin plotnine polars psycopg2 ptflops pydot pymc pynndescent
    pyro pyspark pytorch_lightning pytorch_metric_learning pytorch_transformers radam rapidfuzz ray rouge rouge_score
    sacrebleu sacred sacremoses schedulefree scikitplot sentence_transformers sentencepiece seqeval setfit shap
    simpletransformers skimage skopt skorch snoop snorkel spacy spacy_transformers sqlalchemy statsmodels streamlit
    sweetviz symspellpy tabulate tensorflow tensorflow_datasets tensorflow_hub textattack textblob textstat tf_keras
    thinc thop tiktoken timm toolz toposort torch_geometric torch_optimizer torch_xla torchao torchaudio torchdata
    torchmetrics torchtext torchtune torchvision transformers_interpret trax treelib trl typeguard umap unidecode
    vaderSentiment vaex vega_datasets wordcloud xarray xformers xgboost xlsxwriter ydata_profiling yellowbrick
    """
KNOWN: Final = frozenset(NAMES.split())


def find_foreign_packages(evidence: Evidence) -> list[str]:
    """Return the packages that a notebook imports, that are known, and without which one of its cells failed."""
    missed = {name for failed in evidence.run.summary.failed_cells for name in list_missed(failed.message)}
    sources = "\n".join(evidence.sources.values())
    return sorted(name for name in missed if re.search(rf"^\s*(?:import|from)\s.*\b{name}\b", sources, re.MULTILINE))


def list_missed(text: str) -> Iterator[str]:
    """Yield the known packages that a text of Python calls missing."""
    yield from (name for name in MISSED.findall(text) if name in KNOWN)


def needs_foreign_package(judgement: Judgement, packages: Collection[str], completes: bool) -> bool:
    """Return True if a check did not pass for want of a package. Where a training is missing, all may be for that."""
    if judgement.verdict not in (Verdict.FAILED, Verdict.BLOCKED):
        return False
    return not completes or not set(packages).isdisjoint(list_missed(judgement.rationale))


def excuse(judgements: tuple[Judgement, ...], evidence: Evidence) -> tuple[Judgement, ...]:
    """Have the checks that did not pass for want of a known package wait for a person."""
    packages = find_foreign_packages(evidence)
    if not packages:
        return judgements
    completes = any(j.id == COMPLETES and j.verdict is Verdict.PASSED for j in judgements)
    rationale = MESSAGE.format(join_words(packages))
    held: dict[str, Any] = {"verdict": Verdict.ERROR, "rationale": rationale, "hint": "", "place": None}
    held |= {"held": True, "lacks_package": True}
    return tuple(replace(j, **held) if needs_foreign_package(j, packages, completes) else j for j in judgements)


def find_notes(evidence: Evidence) -> Iterator[str]:
    """Yield the note for staff about packages that are not here."""
    packages = find_foreign_packages(evidence)
    if packages:
        yield NOTE.format(join_words(packages))
