"""Whether a folder lies on this machine's own disk, or on storage that other machines write to as well."""

from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
"""Linux's; elsewhere every folder counts as this machine's own."""
SHARED = {
    "nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "ocfs2", "gfs2", "afs", "9p",
    "wekafs", "panfs", "pvfs2", "virtiofs",
}  # fmt: skip
"""Their names in Linux; those of programs (sshfs, gcsfuse, ...) begin with fuse."""


def is_shared(folder: Path) -> bool:
    """Return whether a folder, which need not be there yet, lies on a file system of many machines."""
    kind = _kind(folder.resolve())
    return kind in SHARED or kind.partition(".")[0] == "fuse"


def _kind(folder: Path) -> str:
    """Return the type of the file system: the last of those mounted at the deepest folder above."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    depth, found = -1, ""
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        at = Path(place.replace("\\040", " "))  # as a space is written there
        if folder.is_relative_to(at) and len(at.parts) >= depth:
            depth, found = len(at.parts), kind
    return found
