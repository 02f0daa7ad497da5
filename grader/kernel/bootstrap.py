"""First thing to run in a kernel: seeds, shims, recorder. After `start`, the notebook's own cells run."""

import ctypes
import os
import random
import sys
import warnings
from typing import Any

from grader.kernel.compat import shims
from grader.kernel.namespace import Bindings
from grader.kernel.session import Session, open_session
from grader.kernel.training.loops import LoopWatcher
from grader.kernel.training.observation import get_device_name
from grader.kernel.training.recorder import Recorder, install
from grader.kernel.writing import write_json
from grader.protocol import events
from grader.protocol.plan import Plan
from grader.protocol.records import Environment

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MEMORY_KEPT = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 1 << 30}  # the largest that it takes; a step's worth


def start(plan_path: str) -> None:
    """Prepare this process to run a notebook under the plan."""
    from IPython import get_ipython

    plan = Plan.load(plan_path)
    events.publish_through(get_ipython())
    seed_everything(plan.seed)
    limit_threads(plan.threads)
    keep_memory()
    allow_tf32(plan.tf32)
    tolerate(plan, get_ipython())
    recorder = Recorder(plan)
    install(recorder)
    watcher = LoopWatcher(recorder)
    watcher.install()
    session = open_session(Session(plan, recorder, Bindings(plan.names)))
    watch_cells(get_ipython(), session, watcher)
    recorder.write()
    write_json(plan.evidence, "environment.json", describe_environment())


def seed_everything(seed: int) -> None:
    """Seeds of random, numpy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def limit_threads(threads: int | None) -> None:
    """Use the cores that the host gave us."""
    import torch

    if threads:
        torch.set_num_threads(threads)


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
    """Let GPUs that can multiply in TF32 do so: about twice as fast on the host's word, never by default."""
    import torch

    if allowed:
        torch.backends.cuda.matmul.fp32_precision = "tf32"


def tolerate(plan: Plan, shell: Any) -> None:
    """Put the compatibility shims in place."""
    shims.tolerate(plan, shell)
    os.environ.setdefault("WANDB_MODE", "disabled")
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def watch_cells(shell: Any, session: Session, watcher: LoopWatcher) -> None:
    """After every cell: note definitions, close loops."""

    def after_cell(result: Any) -> None:
        try:
            session.bindings.note(shell.user_ns, result.info.transformed_cell or "")
        finally:
            watcher.end_cell()

    shell.events.register("post_run_cell", after_cell)


def describe_environment() -> Environment:
    """Versions of what matters, as strings."""
    import platform

    import datasets
    import torch
    import transformers

    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=transformers.__version__,
        datasets=datasets.__version__,
        device=get_device_name(),
        threads=str(torch.get_num_threads()),
    )
