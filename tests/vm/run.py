"""`make vm`: boots real machines, and checks what becomes of an instance on them. `run.py [CASE ...]` runs some of the cases.

Needs x86-64, QEMU, mmdebstrap, mke2fs, Terraform and .venv; see docs/a-real-machine.md.
"""

import itertools
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The packages of Debian and Ubuntu, by the program that each brings.
NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}


def install(missing):
    """Installs packages, but only as root in a container, where that surprises nobody. tests/setup.sh does the same."""
    import subprocess
    if os.geteuid() or Path("/run/systemd/system").exists() or not shutil.which("apt-get"):
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("vm: installing", *missing, flush=True)
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", "-o", "DPkg::Lock::Timeout=600", *words], env=env, stdout=subprocess.DEVNULL, check=False)


def absent():
    """The packages whose program is not there."""
    return [package for program, package in NEEDED.items() if not shutil.which(program)]


def lacking():
    """What must be installed, as a sentence. Empty: nothing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "run it on Linux on x86-64"
    # Twice: apt removes what a package conflicts with, such as a qemu-utils of another release.
    for _ in range(2):
        if missing := absent():
            install(missing)
    if missing := absent():
        return "apt-get install " + " ".join(missing)
    if not shutil.which("terraform"):
        return "install Terraform 1.11 or newer"
    try:
        import boto3, moto  # noqa: F401
    except ImportError:
        return "make setup"
    return ""


def skip(what):
    """Reports a skip, which is shown at the end of the run. In CI it is a failure. Returns the exit code."""
    line = f"SKIPPED vm: {what}"
    print(line, file=sys.stderr)
    if file := os.environ.get("MUSTER_SKIPPED"):
        with open(file, "a") as lines:
            lines.write(line + "\n")
    return 1 if os.environ.get("CI") == "true" else 0


class Bench:
    """What all cases share: the image, moto, Terraform's user data, and a machine that was frozen when its runner listened."""

    def __init__(self, image, accel, aws, user_data, scratch):
        self.image, self.accel, self.aws, self.user_data, self.scratch = image, accel, aws, user_data, scratch
        self.ids = (f"i-{n:017x}" for n in itertools.count(0xABC))
        self.once, self.frozen, self.failed, self.figures = threading.Lock(), None, None, {}

    def machine(self, pool, **options):
        """Switches on a machine of this pool."""
        from machine import Machine
        instance = next(self.ids)
        self.aws.put_secret(instance)
        return Machine(self.image, self.accel, self.aws, instance, self.user_data[pool], **options)

    def listening(self):
        """A machine that has booted, and whose runner listens. Each goes on where the first one was frozen."""
        from machine import Failure, Machine
        with self.once:
            if self.failed:
                raise Failure("the machine that should be frozen did not get so far")
            if not self.frozen:
                self.failed = True
                with self.machine("plain") as machine:
                    first = machine.says("muster: stage script")
                    listens = machine.says("muster: stage listener")
                    machine.eventually("true")
                    if left := [name for name in self.aws.secrets() if machine.instance in name]:
                        machine.fail(f"a secret was left: {left}")
                    machine.freeze(self.scratch)
                    self.figures = {"power-on to the script's first line": first, "first line to Listening for Jobs": listens - first}
                    self.frozen, self.failed = machine.instance, False
        return Machine(self.image, self.accel, self.aws, self.frozen, self.user_data["plain"], state=self.scratch)


def main(names):
    if what := lacking():
        return skip(what)
    import cases
    import image
    import machine
    import world

    chosen = [case for case in cases.CASES if not names or case.__name__ in names]
    if len(chosen) < len(names):
        print(f"no such case among {', '.join(case.__name__ for case in cases.CASES)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    made, built_s = image.image()
    user_data = world.user_data(cases.POOLS)
    accel = machine.accelerator(made)
    print(f"vm: image {made.name} ({f'built in {built_s:.0f} s' if built_s else 'was there'}), "
          f"{'KVM' if accel is machine.KVM else 'emulated'}, {len(chosen)} cases", flush=True)
    failed, figures = [], {}
    scratch = tempfile.TemporaryDirectory(prefix="muster-vm-")
    aws = world.Aws(world.runner_archive(made / "sh"))
    bench = Bench(made, accel, aws, user_data, Path(scratch.name))

    def play(case):
        at = time.monotonic()
        try:
            try:
                figures.update(case(bench) or {})
            except machine.Panic as panic:
                # Seen once in some twenty emulated runs on a busy machine.
                print(f"vm: {case.__name__}: {panic}\nvm: {case.__name__}: once more, after a panic of the kernel", flush=True)
                figures.update(case(bench) or {})
            verdict = "ok"
        except machine.Failure as failure:
            verdict = f"FAILED: {failure}"
        except Exception:
            verdict = f"FAILED: {traceback.format_exc()}"
        if verdict != "ok":
            failed.append(case.__name__)
        print(f"vm: {case.__name__}: {verdict} ({time.monotonic() - at:.0f} s)", flush=True)

    try:
        # Each machine has two processors, and waits most of the time.
        with ThreadPoolExecutor(2) as two:
            list(two.map(play, chosen))
    finally:
        aws.close()
        scratch.cleanup()
    for name, seconds in {**bench.figures, **figures}.items():
        print(f"vm: {name}: {seconds:.1f} s")
    print(f"vm: {len(chosen) - len(failed)} of {len(chosen)} cases passed in {time.monotonic() - began:.0f} s"
          + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
