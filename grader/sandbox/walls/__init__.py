"""The tools of the backends: namespaces, control groups, seccomp, limits."""
