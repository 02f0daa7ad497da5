"""Submission + profile → evidence folder. The only stage that starts a kernel.

run.py is the stage; job.py fills the folder that the kernel works in; broker.py is the disposable process that talks to
the kernel, with driver.py in it; collection.py and record.py are what remains of a run.
"""
