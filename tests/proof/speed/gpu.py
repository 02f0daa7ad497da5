"""Measurements on a GPU: notebooks as submitted, 1 to 8 at a time on the first one, in float32 and in TF32."""

import tempfile
from pathlib import Path
from typing import Any, Final

from grader.model import Precision, Result
from tests.proof.speed import machine
from tests.proof.speed.batches import carry_out, write_class
from tests.proof.speed.outcome import Part, measure_time

SIDE_BY_SIDE: Final = {Precision.AUTO: (1, 2, 4, 8), Precision.TF32: (1, 8)}  # the reference asks for float32
WAVES: Final = 2  # so that one is judged while another trains, as in a class
SLOW_CELL_S: Final = 7200


def measure() -> Part:
    """Seconds of each batch, and per submission."""
    device = machine.read_gpu_name()
    if not device:
        return Part("gpu", skipped="No GPU is at hand.")
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        asked = [(precision, kernels) for precision, numbers in SIDE_BY_SIDE.items() for kernels in numbers]
        batches = [_run_together(Path(name) / f"{p.value}-{kernels}", p, kernels) for p, kernels in asked]
    return Part("gpu", {"device": device, "batches": batches})


def _run_together(folder: Path, precision: Precision, kernels: int) -> dict[str, Any]:
    size = WAVES * kernels
    options = ["--profile", "full", "--precision", precision.value, "--cell-limit", str(SLOW_CELL_S)]
    options += ["--gpus", "1", "--kernels-per-gpu", str(kernels), "--jobs", str(kernels)]
    handed_in = write_class(folder / "handed-in", size)
    wall_s, _ = measure_time(lambda: carry_out([str(handed_in), *options, "--out", str(folder), "--name", "class"]))
    path = next((folder / "class" / "submissions").glob("*/result.json"))
    result = Result.model_validate_json(path.read_bytes())
    trained = {method.value: summary.train_s for method, summary in result.methods.items()}
    return {
        "precision": precision.value, "kernels": kernels, "submissions": size, "wall_s": round(wall_s, 1),
        "per_submission_s": round(wall_s / size, 1),
        "one": {"points": result.score.points, "train_s": trained, "judging_s": result.timings["judging"]},
    }  # fmt: skip
