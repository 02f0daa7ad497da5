"""The questions of the probes: the same for a seed, others for another, and none that a mistake answers rightly."""

import ast
import json

import pytest
import torch
from torch import nn

from grader import challenges
from grader.challenges import Challenges, LoraChallenge, ToyModel, list_wrong_scales
from grader.kernel.probes import toys
from grader.protocol.checkpoint import FILL_VALUES

SEEDS = range(50)
DRAWS = [challenges.draw(seed) for seed in SEEDS]
LORA = [challenge for drawn in DRAWS for challenge in drawn.lora]


def describe(drawn: Challenges) -> str:
    numbers = {name: tensor.tolist() for name, tensor in drawn.lora_tensors.items()}
    return json.dumps([drawn.build_requests("x.safetensors"), numbers])
