"""What a command finds around it in a fresh root: user, rights, limits, environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.proof.fresh.roots import UID, USER

# What Docker leaves to root in a container, by default.
DOCKER: Final = (
    "chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap,setpcap,net_bind_service,sys_chroot,kill,"
    "audit_write"
)
# And what its filter of system calls denies of interest here: mount, umount2, pivot_root, unshare, setns, and clone
# and clone3 for new namespaces. Numbers of x86_64.
FILTER: Final = """
import errno, os, struct, sys
sys.path.insert(0, os.getcwd())
from grader.sandbox.walls.kernel_entry import install_filter
deny, allow, absent = 0x50000 | errno.EPERM, 0x7FFF0000, 0x50000 | errno.ENOSYS
code = [(0x20, 0, 0, 0)]
code += [instruction for number in (165, 166, 155, 272, 308)
         for instruction in ((0x15, 0, 1, number), (0x06, 0, 0, deny))]
code += [(0x15, 0, 1, 435), (0x06, 0, 0, absent)]
code += [(0x15, 0, 3, 56), (0x20, 0, 0, 16), (0x45, 0, 1, 0x7E020000), (0x06, 0, 0, deny), (0x06, 0, 0, allow)]
install_filter(b"".join(struct.pack("HBBI", *instruction) for instruction in code))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class CommandConditions:
    """Around a command in a fresh root.

    before: shell lines, run as root in the folder of the project; mounts that they make go with the command.
    """

    user: str = "root"
    umask: str = "022"
    rights: str = "all"  # "all", "docker" or "none": capabilities of root
    network: bool = True
    before: str = ""
    limits: str = ""  # a shell line, such as `ulimit -v 4000000`
    environ: Mapping[str, str] = field(default_factory=dict)

    def wrap(self, folder: str, command: str) -> list[str]:
        """The whole command line, for `Root.run`."""
        inner = (
            f'umask {self.umask}; cd "{folder}"; {self.limits or ":"}; exec {self._filter_command()}sh -c "$COMMAND"'
        )
        system = "mount -o remount,bind,ro /sys" if self.rights == "docker" else ":"
        outer = f'cd "{folder}" 2> /dev/null; {self.before or ":"}; cd "{folder}"; {system}; exec {self._become()}'
        return ["env", f"COMMAND={command}", "sh", "-c", f'{outer} sh -c "$0"', inner]

    def build_variables(self) -> dict[str, str]:
        """The environment of the user."""
        home = "/root" if self.user == "root" else f"/home/{USER}"
        return {"HOME": home, "FILTER": FILTER, **self.environ}

    def _become(self) -> str:
        if self.user != "root":
            return f"setpriv --reuid {UID} --regid {UID} --clear-groups"
        kept = {"docker": "".join(f",+{name}" for name in DOCKER.split(",")), "none": ""}
        return f"setpriv --bounding-set=-all{kept[self.rights]}" if self.rights in kept else "env"

    def _filter_command(self) -> str:
        return 'python3 -c "$FILTER" ' if self.rights == "docker" else ""
