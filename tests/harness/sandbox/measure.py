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
from grader.sandbox.walls.cgroups import read_number

HEAVY = (
    *("torch", "transformers", "transformers.models.distilbert.modeling_distilbert", "transformers.trainer"),
    *("datasets", "evaluate"),
)
NOTEBOOK = (
    "import torch\nfrom torch import nn\nfrom transformers import AutoTokenizer, Trainer, TrainingArguments",
    "def count(model):\n    return sum(p.numel() for p in model.parameters() if p.requires_grad)",
    "class Layer(nn.Module):\n    def __init__(self, W):\n        super().__init__()\n        self.W = W",
    "from transformers import DistilBertConfig, DistilBertForSequenceClassification\n"
    "model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=100, dim=24, hidden_dim=48, n_layers=2))",
    "count(model), Layer(nn.Linear(3, 3)).W(torch.ones(3)).shape",
)


def start_bare(request: KernelRequest, confine: Confinement) -> RunningKernel:
    """Fork the zygote and nothing else."""
    reader, announce = os.pipe()
    evidence = request.folder / "e"
    evidence.mkdir()
    process = os.fork()
    if process == 0:
        folder = str(request.folder)
        inside = confine.build_entry_request(request, announce, environ=dict(os.environ), folder=folder)
        zygote_module._keep_only([announce, *request.listeners.values()])
        os._exit(kernel_entry.main({**inside, "limits": {}}))
    os.close(announce)
    return RunningKernel(process, reader, evidence, kill=lambda: os.kill(process, 9))


async def one_kernel(sandbox: Sandbox, workspace: Workspace) -> tuple[float, float]:
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
    await manager.close()
    return ready_s, time.monotonic() - started


def one_notebook(sandbox: Sandbox, workspace: Workspace) -> tuple[float, float]:
    """Seconds to the end of the last cell, seconds to closed."""
    cells = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in NOTEBOOK])
    started = time.monotonic()
    manager = sandbox.make_kernel_manager(workspace)
    NotebookClient(cells, km=manager).execute()
    done_s = time.monotonic() - started
    started = time.monotonic()
    manager.close_now()
    return done_s, time.monotonic() - started


async def idle_memory(sandbox: Sandbox, workspace: Workspace, zygote: psutil.Process, kernels: int) -> list[float]:
    """MiB per kernel: growth of the proportional set size, private dirty."""

    def family(field: str, *others: psutil.Process) -> float:
        pids = [process.pid for process in (*others, *zygote.children(recursive=True))]
        return sum(read_number(Path(f"/proc/{pid}/smaps_rollup"), field) for pid in pids) / 1024

    await asyncio.sleep(0.5)  # for the last kernel to be gone
    before = family("Pss:", zygote)
    managers = [sandbox.make_kernel_manager(workspace) for _ in range(kernels)]
    for manager in managers:
        await manager.start_kernel()
    await asyncio.sleep(0.5)
    dirty = family("Private_Dirty:")
    grown = family("Pss:", zygote) - before
    for manager in managers:
        await manager.close()
    return [grown / kernels, dirty / kernels]


def median_of(rounds: int, action: Callable[[], tuple[float, float]]) -> str:
    figures = [action() for _ in range(rounds)]
    ready, closed = (statistics.median(column) for column in zip(*figures, strict=True))
    return f"ready {ready:.3f} s (fastest {min(figures)[0]:.3f}), closed {closed:.3f} s"


def main() -> None:
    if sys.argv[1:] == ["--bare-zygote"]:
        zygote_module.start_kernel = start_bare
        zygote_module.main()
        return
    policy, warmup = SandboxPolicy(memory_mib=8192), Warmup(modules=tuple(sys.argv[1:]) or HEAVY)
    with tempfile.TemporaryDirectory() as job, tempfile.TemporaryDirectory() as evidence:
        workspace = Workspace(job=Path(job), evidence=Path(evidence))

        def time_kernels(sandbox: Sandbox, rounds: int = 9) -> str:
            return median_of(rounds, lambda: asyncio.run(one_kernel(sandbox, workspace)))

        with select(policy, warmup=warmup, only=Backend.WARM) as sandbox:
            asyncio.run(one_kernel(sandbox, workspace))
            print("warm:       ", time_kernels(sandbox))
            print("notebook:   ", median_of(9, lambda: one_notebook(sandbox, workspace)).replace("ready", "done"))
            children = psutil.Process().children()
            zygote = next(child for child in children if "grader.sandbox.zygote" in child.cmdline())
            pss, dirty = asyncio.run(idle_memory(sandbox, workspace, zygote, 4))
            print(f"idle:        {pss:.0f} MiB more proportional set size, {dirty:.0f} MiB private dirty, per kernel")
        warm_module.COMMAND = (sys.executable, "-s", str(Path(__file__).absolute()), "--bare-zygote")  # type: ignore[misc]
        bare = warm_module.Zygote(policy, warmup)
        bare.wait()
        unsandboxed = Sandbox(Backend.WARM, policy, bare.address)
        asyncio.run(one_kernel(unsandboxed, workspace))
        print("unsandboxed:", time_kernels(unsandboxed))
        bare.close()
        for backend in (Backend.BUBBLEWRAP, Backend.LANDLOCK):
            with select(policy, only=backend) as cold:
                print(f"{backend}, cold:", time_kernels(cold, 3))


if __name__ == "__main__":
    main()
