"""Prepares a kernel: seeds, shims, recorder. After `start`, the notebook's own cells run."""

import ctypes
import platform
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from IPython import get_ipython

from grader.kernel import probes
from grader.kernel.compat import shims
from grader.kernel.fence import shield
from grader.kernel.integrity import Integrity
from grader.kernel.namespace import Bindings
from grader.kernel.session import Session, get_session, open_session
from grader.kernel.training.loops import LoopWatcher
from grader.kernel.training.observation import get_device_name
from grader.kernel.training.recorder import Recorder, install
from grader.kernel.writing import write_json
from grader.protocol import events
from grader.protocol.plan import Plan
from grader.protocol.records import Environment

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MEMORY_KEPT = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 1 << 30}  # bytes: the largest allowed; a step's worth


def start(plan_path: str) -> None:
    """Prepare this process to run a notebook under the plan."""
    plan = Plan.load(plan_path)
    events.publish_through(get_ipython(), Path(plan_path).absolute().parent)
    seed_everything(plan.seed)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    keep_memory()
    allow_tf32(plan.tf32)
    shims.tolerate(plan, get_ipython())
    recorder = Recorder(plan)
    install(recorder)
    watcher = LoopWatcher(recorder)
    watcher.install()
    recorder.meter.install()
    after_cell = make_cell_hook(get_ipython(), watcher)
    integrity = Integrity(
        holders=(recorder, watcher, recorder.meter),
        entries=(start, probes.run, after_cell, *watcher.entries, *recorder.meter.entries),
    )
    open_session(Session(plan, recorder, Bindings(plan.names), integrity))
    events.guard_by(integrity.admit)
    get_ipython().events.register("post_run_cell", after_cell)
    recorder.write()
    write_json(plan.evidence, "environment.json", describe_environment())


def seed_everything(seed: int) -> None:
    """Seed random, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def keep_memory() -> None:
    """Have the C library keep what a training step has freed for the next one, which needs the same again.

    By default it hands large blocks back, and the system clears every page of them anew: a tenth of a step. Other C
    libraries than Linux's do not know the call, or ignore it.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else object()
    mallopt = getattr(library, "mallopt", lambda parameter, value: 0)
    for parameter, value in MEMORY_KEPT.items():
        mallopt(parameter, value)


def allow_tf32(allowed: bool) -> None:
    """Let GPUs that can multiply in TF32 do so: about twice as fast, and only where the host allows it."""
    if allowed:
        torch.backends.cuda.matmul.fp32_precision = "tf32"


def make_cell_hook(shell: Any, watcher: LoopWatcher) -> Callable[[Any], None]:
    """Make what notes definitions and closes loops after every cell, and looks whether the witness is as it was."""

    @shield()
    def note_names(result: Any) -> None:
        get_session().bindings.note(shell.user_ns, result.info.transformed_cell or "")

    @shield()
    def examine() -> None:
        get_session().integrity.examine()

    def after_cell(result: Any) -> None:
        note_names(result)
        examine()
        watcher.end_cell()

    return after_cell


def describe_environment() -> Environment:
    """Return versions of what matters, as strings."""
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=transformers.__version__,
        datasets=datasets.__version__,
        device=get_device_name(),
        threads=str(torch.get_num_threads()),
    )
