"""Tells whether weights moved as gradient descent moves them, which only passes through the network can know.

The gradient of a linear layer y = W x is a sum of outer products (dL/dy) xᵀ over tokens. Whatever the labels are, dL/dy
is a multiple of that of the margin between both labels, so it lies in few of the directions that y has; and each step
of training, of W itself or of an adapter beside it, moves W there. These directions are computed here, from the
checkpoint, the head that a training left, and reviews that no notebook has seen. What was made up lies in them by
chance only. Which way it moves does not matter: who trains on wrong labels has trained.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from grader import assignment
from grader.oracle.gradients import run_distilbert

Tensors = Mapping[str, Tensor]

HEAD: Final = "pre_classifier.weight"
QUERIES_AND_VALUES: Final = tuple(f"{path}.weight" for path in assignment.QV_LAYER_NAMES)
# How many times the share that chance gives has to lie there. Numbers that were made up reach 1.3 and 12 one time in
# 100,000. Trainings of 16 steps: full 49; heads 1,000 and more, 36 where the labels are drawn at random.
ENCODER_SHARE: Final = 5.0
HEAD_SHARE: Final = 12.0
ITERATIONS: Final = 10
ANOTHER: Final = 0.5  # a layer that moved by more than this share of itself is no longer the pretrained one


def moves_along_gradients(left: Tensors, entry: Tensors, base: Tensors, ids: Tensor, mask: Tensor) -> bool | None:
    """Return whether what a training left lies where gradients point; None where no head can be read.

    Where all of the encoder was trained, its layers tell. Otherwise the head does or, where that stands still, the
    encoder.

    Args:
        left: the weights as `kernel.weights.export` names them.
        entry: the answer to the gradient challenge when the training began, which holds the head; or nothing.
        base: the checkpoint.
        ids, mask: tokens of reviews, (rows, tokens): first those of one label, then as many of the other.
    """
    state = _rebuild(left, base)
    moved = {name: state[name] - base[name].float() for name in QUERIES_AND_VALUES if name in base}
    moved = {name: move for name, move in moved.items() if bool(move.any())}
    pretrained = all(float(m.norm()) <= ANOTHER * float(base[name].float().norm()) for name, m in moved.items())
    if not _has_head(state):
        return None
    whole = any(key.removeprefix("w:") in moved for key in left)
    if not (whole and pretrained) and _head_follows(state, entry.get(f"head:{HEAD}"), ids, mask):
        return True
    begun = {key.removeprefix("head:"): tensor.float() for key, tensor in entry.items() if key.startswith("head:")}
    before = {**state, **{name: base[name].float() for name in moved}}
    heads = [{}, begun] if _has_head({**state, **begun}) else [{}]  # the head may have been made anew at the end
    return bool(moved) and any(_encoder_follows(moved, {**before, **head}, ids, mask) for head in heads)


def _rebuild(left: Tensors, base: Tensors) -> dict[str, Tensor]:
    """Return the trained model's tensors; those of other shapes than the checkpoint's are left out."""
    state = {name: tensor.float() for name, tensor in base.items()}
    for key, tensor in left.items():
        name = key[2:]
        if name in base and tensor.shape != base[name].shape:
            continue
        state[name] = state[name] + tensor.float() if key.startswith("d:") and name in base else tensor.float()
    return state


def _has_head(state: Tensors) -> bool:
    """Return True for the head of a DistilBERT classifier, with any number of labels."""
    out, out_bias, inner, bias = (
        state.get(f"{m}.{k}") for m in ("classifier", "pre_classifier") for k in ("weight", "bias")
    )
    if out is None or out_bias is None or inner is None or bias is None:
        return False
    square = inner.ndim == 2 and inner.shape[0] == inner.shape[1] == bias.numel()
    return square and out.ndim == 2 and out.shape[1:] == bias.shape and out_bias.shape == out.shape[:1] and len(out) > 0


def _compute_gradients(state: Tensors, names: list[str], ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Compute the gradients of the margins of both halves of the reviews: (2, out, in) of each layer."""
    asked = {name: state[name].detach().requires_grad_() for name in names}
    logits = run_distilbert({**state, **asked}, ids, mask)
    margins = logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0)
    halves = [torch.autograd.grad(half.sum(), list(asked.values()), retain_graph=True) for half in margins.chunk(2)]
    return {name: torch.stack(pair) for name, *pair in zip(asked, *halves, strict=True)}


def _encoder_follows(moved: Tensors, state: Tensors, ids: Tensor, mask: Tensor) -> bool:
    """Return whether layers move their outputs in the main direction in which these move the margin."""
    shares = []
    for name, gradient in _compute_gradients(state, list(moved), ids, mask).items():
        move = moved[name]
        main = find_main_direction(torch.cat(list(gradient), dim=1))
        shares.append(len(move) * float((main @ move).square().sum() / move.square().sum()))
    return sum(shares) / len(shares) > ENCODER_SHARE


def find_main_direction(columns: Tensor) -> Tensor:
    """Return the direction of length 1 in which most of a matrix's columns lie, by the power method."""
    direction = columns.sum(dim=1)
    for _ in range(ITERATIONS):
        direction = columns @ (columns.T @ direction)
        direction = direction / direction.norm().clamp_min(1e-30)
    return direction


def _head_follows(state: Tensors, before: Tensor | None, ids: Tensor, mask: Tensor) -> bool:
    """Return whether the head holds more of its own gradients than chance gives: as it is, or since it began."""
    basis = torch.linalg.qr(_compute_gradients(state, [HEAD], ids, mask)[HEAD].flatten(1).T)[0]
    after = state[HEAD]
    moves = [after] if before is None or before.shape != after.shape else [after, after - before.float()]
    inside = ((basis.T @ move.flatten()).square().sum() / move.square().sum().clamp_min(1e-30) for move in moves)
    return any(float(share) * after.numel() / len(basis.T) > HEAD_SHARE for share in inside)
