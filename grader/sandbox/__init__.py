"""Policy in, isolated kernel process out. Knows no notebooks.

    with select(Policy(...), warmup=Warmup(modules=("torch",))) as sandbox:
        manager = sandbox.kernel_manager(Workspace(job=..., evidence=...))
        client = NotebookClient(notebook, km=manager, raise_on_iopub_timeout=True)
        try:
            client.execute()
        finally:
            ending = manager.close_now()   # why it was stopped, memory, which evidence was copied

How the pieces stand to each other: policy.py has the words; selection.py picks a backend after selftest.py has tried
its promises; provisioner.py is what nbclient talks to, over transport.py; supervisor.py watches one kernel and cleans
up after it, whichever launcher started it (zygote.py, bubblewrap.py, container.py, landlock.py; plain.py does
without); namespaces.py, seccomp.py, cgroups.py and watchdog.py are its tools; inner.py is the last trusted code
inside.
"""

from grader.sandbox.policy import SCRATCH, Backend, Ending, SandboxClaim, SandboxPolicy, Stop, Warmup, Workspace
from grader.sandbox.selection import Sandbox, SelfTest, attach, run_self_test, run_self_tests, select

__all__ = [
    "SCRATCH",
    "Backend",
    "Ending",
    "Sandbox",
    "SandboxClaim",
    "SandboxPolicy",
    "SelfTest",
    "Stop",
    "Warmup",
    "Workspace",
    "attach",
    "run_self_test",
    "run_self_tests",
    "select",
]
