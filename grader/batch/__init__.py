"""A whole class: what is missing is executed, what changed is judged again, and nothing that is done gets lost.

    controller ── scheduler ──┬── worker ──┬── zygote ── kernels
                              └── worker ──┘
                                    │
                                    ▼
        results/CLASS/store   evidence by what it depends on, results by evidence and suite

The workers of the controller's machine share its zygote; those of other machines have their own.

How the pieces stand to each other: session.py is what the commands call, with what request.py remembers; messages.py
has the words; digests.py says what a result depends on, and outdated.py what of a class is not of today; store.py keeps
what is done, visible only when it is whole; worker_tools.py is a worker's warm equipment, ledger.py what it notes about
weights, so that they need not stay, and ledger_case.py judges by that; work.py takes one submission through the stages;
executor.py puts Dask workers to it; scheduling.py decides what is left to do and does it; display.py and log.py show
it, and history.py keeps what was ever said; outputs.py writes what goes back to students, and delivery.py packs it for
Canvas; slurm_jobs.py asks a cluster for workers.
"""
