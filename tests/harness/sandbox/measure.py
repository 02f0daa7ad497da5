"""Times and memory of warm kernels: `python tests/harness/sandbox/measure.py [MODULE ...]`. Prints medians.

- ready: from the request until the kernel has answered on both channels, everything imported
- notebook: imports, a few definitions and a tiny model, by nbclient; from the request until the last cell is done
- closed: from the order to end until everything is gone and evidence is copied
- idle: memory that one more kernel costs before it runs code: growth of the proportional set sizes of all processes of
  the zygote's family, and what the kernel's own processes have written (private dirty)
- unsandboxed: a fork of the same zygote without namespaces, limits, filter and change of user
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import nbformat
import psutil
from nbclient import NotebookClient

from grader.sandbox import Backend, Sandbox, SandboxPolicy, Warmup, Workspace, select
from grader.sandbox import zygote as zygote_module
from grader.sandbox.backends import zygote_client as warm_module
from grader.sandbox.link import KernelRequest
from grader.sandbox.supervisor import Confinement, RunningKernel
from grader.sandbox.walls import kernel_entry

HEAVY = (
    "torch",
    "transformers",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.trainer",
    "datasets",
    "evaluate",
)
ROUNDS = 9


def start_bare(request: KernelRequest, confine: Confinement) -> RunningKernel:
    """Fork the zygote and nothing else."""
    reader, announce = os.pipe()
    evidence = request.folder / "e"
    evidence.mkdir()
    process = os.fork()
    if process == 0:
        inside = confine.build_entry_request(
            request, environ=dict(os.environ), folder=str(request.folder), announce=announce
        )
        zygote_module._keep_only([announce, *request.listeners.values()])
        os._exit(kernel_entry.main({**inside, "limits": {}}))
    os.close(announce)
    return RunningKernel(process, reader, evidence, kill=lambda: os.kill(process, 9))


async def one_kernel(sandbox: Sandbox, workspace: Workspace) -> tuple[float, float, Any]:
    """Seconds to ready, seconds to closed."""
    started = time.monotonic()
    manager = sandbox.make_kernel_manager(workspace)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready()
    ready_s = time.monotonic() - started
    client.stop_channels()
    started = time.monotonic()
    ending = await manager.close()
    return ready_s, time.monotonic() - started, ending


NOTEBOOK = (
    "import torch\nfrom torch import nn\nfrom transformers import AutoTokenizer, Trainer, TrainingArguments",
    "def count(model):\n    return sum(p.numel() for p in model.parameters() if p.requires_grad)",
    "class Layer(nn.Module):\n    def __init__(self, W):\n        super().__init__()\n        self.W = W",
    "from transformers import DistilBertConfig, DistilBertForSequenceClassification\n"
    "model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=100, dim=24, hidden_dim=48, n_layers=2))",
    "count(model), Layer(nn.Linear(3, 3)).W(torch.ones(3)).shape",
)


def one_notebook(sandbox: Sandbox, workspace: Workspace) -> tuple[float, float, Any]:
    """Seconds to the end of the last cell, seconds to closed."""
    cells = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in NOTEBOOK])
    started = time.monotonic()
    manager = sandbox.make_kernel_manager(workspace)
    NotebookClient(cells, km=manager).execute()
    done_s = time.monotonic() - started
    started = time.monotonic()
    ending = manager.close_now()
    return done_s, time.monotonic() - started, ending


async def idle_memory(sandbox: Sandbox, workspace: Workspace, zygote: int, kernels: int) -> tuple[float, float]:
    """MiB per kernel: growth of the proportional set size, private dirty."""
    await asyncio.sleep(0.5)  # for the last kernel to be gone
    before = family(zygote, "Pss:")
    managers = [sandbox.make_kernel_manager(workspace) for _ in range(kernels)]
    for manager in managers:
        await manager.start_kernel()
    await asyncio.sleep(0.5)
    dirty = family(zygote, "Private_Dirty:", without_itself=True)
    grown = (family(zygote, "Pss:") - before) / kernels, dirty / kernels
    for manager in managers:
        await manager.close()
    return grown


def family(zygote: int, field: str, *, without_itself: bool = False) -> float:
    """Sum of one field of smaps_rollup over the zygote and all its descendants, in MiB."""
    total = 0.0
    own = [] if without_itself else [psutil.Process(zygote)]
    for process in (*own, *psutil.Process(zygote).children(recursive=True)):
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue  # gone meanwhile
        for line in text.splitlines():
            total += int(line.split()[1]) / 1024 if line.startswith(field) else 0
    return total


def median_of(rounds: int, action: Callable[[], tuple[float, float, Any]]) -> str:
    figures = [action()[:2] for _ in range(rounds)]
    ready, closed = (statistics.median(column) for column in zip(*figures, strict=True))
    return f"ready {ready:.3f} s (fastest {min(figures)[0]:.3f}), closed {closed:.3f} s"


def main() -> None:
    if sys.argv[1:] == ["--bare-zygote"]:
        zygote_module.start_kernel = start_bare
        zygote_module.main()
        return
    modules = tuple(sys.argv[1:]) or HEAVY
    policy, warmup = SandboxPolicy(memory_mib=8192), Warmup(modules=modules)
    with tempfile.TemporaryDirectory() as job, tempfile.TemporaryDirectory() as evidence:
        workspace = Workspace(job=Path(job), evidence=Path(evidence))
        with select(policy, warmup=warmup, only=Backend.WARM) as sandbox:
            asyncio.run(one_kernel(sandbox, workspace))
            print("warm:       ", median_of(ROUNDS, lambda: asyncio.run(one_kernel(sandbox, workspace))))
            figures = median_of(ROUNDS, lambda: one_notebook(sandbox, workspace))
            print("notebook:   ", figures.replace("ready", "done"))
            zygote = next(
                p.pid for p in psutil.Process().children() if "grader.sandbox.zygote" in " ".join(p.cmdline())
            )
            pss, dirty = asyncio.run(idle_memory(sandbox, workspace, zygote, 4))
            print(f"idle:        {pss:.0f} MiB more proportional set size, {dirty:.0f} MiB private dirty, per kernel")
        warm_module.COMMAND = (sys.executable, "-s", str(Path(__file__).absolute()), "--bare-zygote")  # type: ignore[misc]
        bare = warm_module.Zygote(policy, warmup)
        bare.wait()
        unsandboxed = Sandbox(Backend.WARM, policy, bare.address)
        asyncio.run(one_kernel(unsandboxed, workspace))
        print("unsandboxed:", median_of(ROUNDS, lambda: asyncio.run(one_kernel(unsandboxed, workspace))))
        bare.close()
        for backend in (Backend.BUBBLEWRAP, Backend.LANDLOCK):
            with select(policy, only=backend) as cold:
                print(f"{backend}, cold:", median_of(3, lambda: asyncio.run(one_kernel(cold, workspace))))


if __name__ == "__main__":
    main()
