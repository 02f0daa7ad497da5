"""A whole class: execute what is missing, judge again what changed, lose nothing that is done.

    controller ── scheduler ──┬── worker ──┬── zygote ── kernels
                              └── worker ──┘
                                    │
                                    ▼
        results/CLASS/store   evidence by what it depends on, results by evidence and suite

The workers of the controller's machine share its zygote; those of other machines have their own.

The commands call session.py. It plans with scheduling.py by what digests.py says a result depends on; executor.py puts
Dask workers to work.py, which takes one submission through the stages with worker_tools.py; store.py keeps what is
done, visible only when it is whole; outputs.py writes what goes back to students.
"""
