"""The training that each profile allows. `full` has no budget: it trains as submitted."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Final

from grader import assignment
from grader.errors import GraderError
from grader.model import Method, Precision, Profile
from grader.protocol.plan import Budget

# One rate per method, from runs of the reference: the same number of steps needs faster learning the fewer
# parameters may move.
LEARNING_RATES: Final = {Method.FULL.value: 5e-5, Method.HEAD.value: 3e-3, Method.LORA.value: 2e-3}

BUDGETS: Final = {
    Profile.STRUCTURE: Budget(
        max_steps=2, batch_size=4, max_tokens=16, train_rows=8, eval_rows=4, learning_rates=LEARNING_RATES
    ),
    Profile.QUICK: Budget(
        max_steps=16, batch_size=16, max_tokens=64, train_rows=2_000, eval_rows=32, learning_rates=LEARNING_RATES
    ),
}
# Seconds of a cell and of a whole notebook, where little is trained: the reference takes about ten in all.
SHORT: Final[Mapping[Profile, tuple[float, float]]] = {Profile.STRUCTURE: (180, 480)}
PRECISIONS: Final = {
    Profile.STRUCTURE: (Precision.AUTO,),
    Profile.QUICK: (Precision.AUTO, Precision.FLOAT32, Precision.BFLOAT16),
    Profile.FULL: (Precision.AUTO, Precision.TF32),
}


def require_fit(profile: Profile, precision: Precision) -> None:
    """Raise GraderError for a precision that the profile does not train in."""
    if precision not in PRECISIONS[profile]:
        known = " or ".join(PRECISIONS[profile])
        raise GraderError(f"Profile {profile.value} does not train in {precision.value}; use --precision {known}.")


def uses_gpu(profile: Profile) -> bool:
    """Return True if notebooks get a GPU. The other profiles train too little for one; CPUs calibrate them."""
    return profile is Profile.FULL


def get_budget(profile: Profile, bfloat16: bool) -> Budget | None:
    """Return the budget of a profile, in the precision that suits the machine."""
    found = BUDGETS.get(profile)
    return replace(found, bfloat16=bfloat16 and profile is Profile.QUICK) if found else None


def fingerprint(profile: Profile) -> str:
    """Return a digest of what a calibration depends on.

    Not of precision, which changes accuracy within noise only, nor of how many reviews a notebook evaluates on, which
    changes no weight.
    """
    if profile not in BUDGETS:
        return "as submitted"
    plain = {key: value for key, value in asdict(BUDGETS[profile]).items() if key not in ("bfloat16", "eval_rows")}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def count_evaluated_rows(profile: Profile) -> int:
    """Return how many reviews a notebook evaluates on at least."""
    return BUDGETS[profile].eval_rows if profile in BUDGETS else assignment.EVAL_ROWS


def count_measured_tokens(profile: Profile) -> int:
    """Return how many tokens of a held-out review the accuracy is measured on."""
    return BUDGETS[profile].max_tokens if profile in BUDGETS else 512
