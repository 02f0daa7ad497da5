"""Submission + profile → evidence folder. The only stage that starts a kernel.

run.py is the stage; job.py fills the folder that the kernel works in; broker.py is the disposable process that talks to
the kernel, with driver.py in it, which belated.py and variables.py help; folders.py, memory.py and seats.py are what a
run takes of the machine; progress.py says how far it is; collection.py and record.py are what remains of a run.
"""
