"""The place of a cause: which line of the notebook a failed check is about.

A verdict comes from behaviour; a place comes from reading the code, after the check has failed. It is help and no
judgement: where the code does not show the cause, there is no place. A check names one of the functions `find_…` here
as its `about`; a single failure may name a finer one (`at`).
"""

from grader.judging.places.adapted_model import find_adapted, find_certified, find_wrapped_layers, find_wrapping
from grader.judging.places.failures import find_cell_before, find_failure, find_missing_return, find_stop_before
from grader.judging.places.functions import find_count, find_extraction, find_names, find_replacement
from grader.judging.places.lora_layer import (
    find_base,
    find_class,
    find_constant_start,
    find_dropout,
    find_fresh_output,
    find_gradient_cut,
    find_matrices,
    find_scale,
    find_start,
    find_update,
)
from grader.judging.places.notebook import Finder, Notebook, locate
from grader.judging.places.redefinitions import Redefinition, find_redefinition
from grader.judging.places.trainings import (
    find_data,
    find_evaluated,
    find_head,
    find_learning,
    find_origin,
    find_pretrained,
    find_trainable,
    find_trainer,
    find_training,
)

__all__ = [
    "Finder",
    "Notebook",
    "Redefinition",
    "find_adapted",
    "find_base",
    "find_cell_before",
    "find_certified",
    "find_class",
    "find_constant_start",
    "find_count",
    "find_data",
    "find_dropout",
    "find_evaluated",
    "find_extraction",
    "find_failure",
    "find_fresh_output",
    "find_gradient_cut",
    "find_head",
    "find_learning",
    "find_matrices",
    "find_missing_return",
    "find_names",
    "find_origin",
    "find_pretrained",
    "find_redefinition",
    "find_replacement",
    "find_scale",
    "find_start",
    "find_stop_before",
    "find_trainable",
    "find_trainer",
    "find_training",
    "find_update",
    "find_wrapped_layers",
    "find_wrapping",
    "locate",
]
