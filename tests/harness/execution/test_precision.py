"""The precision that a profile trains in, in the kernel and in the record."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from grader import pipeline
from grader.errors import GraderError
from grader.execution import profiles, run
from grader.execution.setup import UNSANDBOXED
from grader.model import Precision, Profile
from grader.protocol.plan import Plan

FITTING = {(Profile.QUICK, Precision.FLOAT32), (Profile.QUICK, Precision.BFLOAT16), (Profile.FULL, Precision.TF32)}
FITTING |= {(profile, Precision.AUTO) for profile in Profile}


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("precision", Precision)
def test_a_profile_refuses_what_it_does_not_train_in(profile: Profile, precision: Precision) -> None:
    words = f"Profile {profile} does not train in {precision}; use --precision auto"
    fits = (profile, precision) in FITTING
    with nullcontext() if fits else pytest.raises(GraderError, match=words):
        profiles.require_fit(profile, precision)


@pytest.mark.parametrize(
    ("precision", "recorded"), [(Precision.FLOAT32, "float32"), (Precision.BFLOAT16, "bfloat16 autocast")]
)
def test_the_record_says_it(precision: Precision, recorded: str) -> None:
    with pipeline.open_setup(Profile.QUICK, 0, UNSANDBOXED, precision=precision) as used:
        assert run.build_conditions(used).precision == recorded
        assert run.build_conditions(replace(used, bfloat16=False, tf32=True)).precision == "float32, TF32 on a GPU"


@pytest.mark.parametrize("allowed", [False, True], ids=["as submitted", "tf32"])
def test_a_kernel_multiplies_in_tf32_only_when_told(allowed: bool, tmp_path: Path) -> None:
    plan = Plan(seed=0, inputs={}, base_weights="", names={}, tf32=allowed)
    plan.save(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["tf32"] is allowed
    source = "import sys, torch; from grader.kernel.bootstrap import allow_tf32; allow_tf32(sys.argv[1] == 'True')"
    command = [sys.executable, "-c", f"{source}; print(torch.backends.cuda.matmul.fp32_precision)", str(allowed)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert (said == "tf32") is allowed
