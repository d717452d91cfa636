"""How full the disks are on which a store keeps its files: told before the first write fails."""

import os
from collections.abc import Mapping
from pathlib import Path

from sfss.metrics.families import Family, gauge


def disk_families(disks: Mapping[str, Path]) -> list[Family]:
    """Of each folder, by what it is for. What cannot be asked is left out."""
    bytes_of = gauge("sfss_disk_bytes", "Size of the file system", "disk", join="max")
    free = gauge("sfss_disk_free_bytes", "Bytes of it that this user may write", "disk", join="min")
    inodes = gauge("sfss_disk_inodes", "Files that it can have; 0: any number", "disk", join="max")
    free_inodes = gauge("sfss_disk_free_inodes", "Files that can still be made on it", "disk", join="min")
    for name, folder in disks.items():
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        bytes_of.add((name,), disk.f_blocks * disk.f_frsize)
        free.add((name,), disk.f_bavail * disk.f_frsize)
        inodes.add((name,), disk.f_files)
        free_inodes.add((name,), disk.f_favail)
    return [bytes_of, free, inodes, free_inodes]
