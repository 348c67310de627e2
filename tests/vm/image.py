"""The box's image: a Debian with its own kernel, systemd, cloud-init and Docker, as a raw disk and a kernel beside it.

No boot loader and no loop device: QEMU takes the kernel and its initrd, and mke2fs fills the disk. Built once for each content of this file and customize.sh, under target/vm/.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "target" / "vm"
SUITE = "trixie"
PACKAGES = (
    "systemd systemd-sysv dbus udev kmod linux-image-cloud-amd64 cloud-init netplan.io systemd-resolved systemd-timesyncd dhcpcd-base "
    "iproute2 curl ca-certificates sudo passwd login procps tzdata cloud-guest-utils libicu76 docker.io docker-cli iptables busybox-static apt-utils"
)
DISK = "4G"
UNNEEDED = ("doc", "man", "locale")


def key():
    recipe = Path(__file__).read_bytes() + (HERE / "customize.sh").read_bytes()
    return f"{SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}"


def build(into):
    """mmdebstrap downloads from Debian's mirror by apt; without its own fsync, dpkg takes half the time."""
    tree = into / "tree"
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", "--mode=" + ("root" if os.geteuid() == 0 else "unshare"), "--components=main",
         "--include=" + ",".join(PACKAGES.split()), '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io",
         *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in UNNEEDED),
         f"--customize-hook={HERE / 'customize.sh'}", SUITE, str(tree)],
        check=True, stdin=subprocess.DEVNULL)
    for name in ("vmlinuz", "initrd"):
        made, = (tree / "boot").glob(name + "*-*")
        shutil.copy(made, into / name)
    shutil.copy(tree / "usr/bin/dash", into / "sh")
    disk = into / "disk.raw"
    subprocess.run(["truncate", "-s", DISK, str(disk)], check=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", str(tree), str(disk)], check=True)
    shutil.rmtree(tree)


def image():
    """The directory of the image, and the seconds that it took to build (0: it was there)."""
    made = CACHE / key()
    if (made / "disk.raw").exists():
        return made, 0.0
    draft = CACHE / f".{key()}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    began = time.monotonic()
    try:
        build(draft)
        shutil.rmtree(made, ignore_errors=True)
        draft.rename(made)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for old in CACHE.glob(f"{SUITE}-*"):
        if old != made:
            shutil.rmtree(old, ignore_errors=True)
    return made, time.monotonic() - began
