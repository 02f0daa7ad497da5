"""A whole class: what is missing is executed, what changed is judged again, and nothing that is done gets lost.

    controller ── scheduler ──┬── worker ──┬── zygote ── kernels
                              └── worker ──┘
                                    │
                                    ▼
        results/CLASS/store   evidence by what it depends on, results by evidence and suite

The workers of the controller's machine share its zygote; those of other machines have their own.

How the pieces stand to each other: session.py is what the commands call, with what request.py remembers; order.py has
the words; digests.py says what a result depends on; store.py keeps what is done, visible only when it is whole;
bench.py is a worker's warm equipment and ledger.py what it notes about weights, so that they need not stay; work.py
takes one submission through the stages; crew.py puts Dask workers to it; running.py decides what is left to do and does
it; board.py and log.py show it, and history.py keeps what was ever said; outputs.py writes what goes back to students,
and delivery.py packs it for Canvas; slurm_jobs.py asks a cluster for workers; classroom.py makes classes up, and
demo.py grades one.
"""
