"""Runs a submission under a profile and leaves an evidence folder. The only stage that starts a kernel.

`run` is the stage and `setup` finds what it needs; `job` fills the folder that the kernel works in, with `variables`;
`broker` is the disposable process that talks to the kernel, with `driver` in it; `isolation`, `gpu_pool` and `memory`
are about what a run takes of the machine; `progress` tells how far it is; `collection` and `record` keep what remains.
"""
