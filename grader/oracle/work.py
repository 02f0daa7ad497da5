"""Tells whether a training did any work: steps of an optimiser, gradients, reviews, and weights moved by nothing else.

A training without these is none, whatever weights it leaves. What is demanded is far below what any training does.
"""

from typing import Final

from grader.execution import profiles
from grader.model import Profile
from grader.protocol.records import Training, Work

# A first step of gradient descent, of Adam or of its relatives moves every number against its gradient. A random move
# does so for half of them, with a deviation of 0.016 where a thousand are compared.
FOLLOWING: Final = 0.58
ENOUGH_COMPARED: Final = 200
NEGLIGIBLE: Final = 1e-7  # a move that rounding can be, where weights are copied to and fro


def explain_idleness(training: Training, profile: Profile) -> str | None:
    """Return what an ended training lacks to be one, as the end of a sentence about it; None if it worked."""
    work = training.work
    if not training.finished:
        return None
    if work is None:
        return "its steps cannot be seen"
    fewest = count_fewest_steps(training, profile)
    if work.steps < fewest:
        taken = f"takes {work.steps} of at least {fewest}" if work.steps else "takes no"
        return f"it {taken} optimiser steps on the parameters of the model"
    if not work.gradients:
        return "no optimiser step finds a gradient"
    if not work.reviews:
        return "the model reads no review in it"
    return _explain_moves(work)


def _explain_moves(work: Work) -> str | None:
    """Return how the weights move otherwise than by steps along their gradients; what diverges is not looked at."""
    if work.compared >= ENOUGH_COMPARED and work.against < FOLLOWING * work.compared:
        return "the optimiser does not move the weights against their gradients"
    if work.moved is not None and work.apart is not None and work.apart > work.moved + NEGLIGIBLE:
        return "its weights change by more than the optimiser steps explain"
    if work.moved == 0 and (work.after is None or work.after > NEGLIGIBLE):
        return "its weights change, and no optimiser step changes them"
    return None


def is_replaced_at_end(work: Work | None) -> bool:
    """Return True if the weights change, after the last optimiser step, by more than all steps together moved them.

    An average over the steps, or the best of several epochs loaded at the end, stays within what steps moved.
    """
    if work is None or work.moved is None or work.after is None or not work.steps:
        return False
    return work.after > work.moved + NEGLIGIBLE


def count_fewest_steps(training: Training, profile: Profile) -> int:
    """Return the steps of one epoch of a `Trainer` under the budget of a profile; 1 for anything else."""
    budget = profiles.get_budget(profile, bfloat16=False)
    if budget is None or training.via != "Trainer":
        return 1
    epochs = max(1.0, training.arguments.get("num_train_epochs") or 1.0)
    return max(1, int(budget.max_steps / epochs))
