"""Isolated kernel processes under a policy; nothing here knows notebooks.

    with select(SandboxPolicy(...), warmup=Warmup(modules=("torch",))) as sandbox:
        manager = sandbox.make_kernel_manager(Workspace(job=..., evidence=...))
        client = NotebookClient(notebook, km=manager, raise_on_iopub_timeout=True)
        try:
            client.execute()
        finally:
            ending = manager.close_now()   # why it was stopped, memory, which evidence was copied

policy.py has the words; selection.py picks a backend after selftest.py has tried its promises; provisioner.py is what
nbclient talks to, over transport.py; supervisor.py watches one kernel and cleans up after it, whichever launcher
started it (zygote.py or one of backends/; plain_process.py needs none); walls/ has its tools, and in kernel_entry.py
the last trusted code inside.
"""

from grader.sandbox.policy import SCRATCH, Backend, Ending, SandboxClaim, SandboxPolicy, Stop, Warmup, Workspace
from grader.sandbox.selection import Sandbox, SelfTest, attach, run_self_test, run_self_tests, select

__all__ = ["SCRATCH", "Backend", "Ending", "SandboxClaim", "SandboxPolicy", "Stop", "Warmup", "Workspace"]
__all__ += ["Sandbox", "SelfTest", "attach", "run_self_test", "run_self_tests", "select"]
