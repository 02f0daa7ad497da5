"""What they are built of: namespaces, control groups, seccomp, limits."""
