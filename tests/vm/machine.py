"""One instance: a QEMU that looks like EC2, its console with the second of each line, a root shell on a second console, and a power button."""

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from world import ADDRESS, MAC, Metadata

HERE = Path(__file__).resolve().parent
KVM = ["-accel", "kvm", "-cpu", "host"]
# Without la57 (five levels of page tables): QEMU 7.2 emulates it wrongly for Debian's kernel 6.12.118, and each program ends with
# "Fatal glibc error: ../sysdeps/unix/sysv/linux/dl-origin.c:41".
EMULATED = ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-svm,-la57"]
# On an idle host with KVM, the runner listens after 10 s. On a loaded host with emulation, it listens after 150 s.
PATIENCE_S = 60
EMULATED_PATIENCE_S = 600


class Failure(Exception):
    """Says what was not seen, with the end of the console."""


class Panic(Failure):
    """The kernel panicked. No part of muster runs in the kernel, so this is the emulator's failure."""


def accelerator(image):
    """KVM, if a kernel boots with it. Neither /dev/kvm nor a machine made by KVM proves that: some hosts can make a machine, and
    cannot run a distribution's kernel on it."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATED
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch, "console")
        said.touch()
        probe = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", *KVM, "-machine", "q35", "-m", "512", "-no-reboot",
             "-kernel", str(image / "vmlinuz"), "-append", "console=ttyS0 earlyprintk=serial panic=-1", "-serial", f"file:{said}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                if b"Linux version" in said.read_bytes():
                    return KVM
                if probe.poll() is not None:
                    break
                time.sleep(0.1)
            return EMULATED
        finally:
            probe.kill()
            probe.wait(30)


def overlay(disk, at):
    """Makes a disk that takes what is written, on top of a disk that others read."""
    form = "raw" if disk.suffix == ".raw" else "qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(disk), str(at)], check=True)


class Machine:
    """Boots at once, or goes on where `state` was frozen. The end of `with` ends the machine, whatever happened."""

    def __init__(self, image, accel, aws, instance, user_data, memory_mb=700, linked=True, state=None):
        self.instance, self.aws, self.emulated = instance, aws, accel is not KVM
        self.patience = EMULATED_PATIENCE_S if self.emulated else PATIENCE_S
        self.soon = 60 if self.emulated else 30
        self.metadata = Metadata(instance, user_data)
        self.dir = Path(tempfile.mkdtemp(prefix="muster-vm-"))
        self.lines, self.off_at, self.code = [], None, None
        # Programs recognise EC2 by its SMBIOS: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html
        uuid = "ec2" + hashlib.sha256(instance.encode()).hexdigest()[:29]
        uuid = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
        relay = f"{shlex.quote(sys.executable)} -IS {shlex.quote(str(HERE / 'relay.py'))}"
        (self.dir / "console").touch()
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            *accel, "-machine", "q35,hpet=off,vmport=off", "-smp", "2", "-m", str(memory_mb),
            "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"),
            "-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 random.trust_cpu=on panic=-1",
            "-smbios", f"type=1,manufacturer=Amazon EC2,product=c7a.large,uuid={uuid},serial={uuid}",
            # EC2 has NVMe, but QEMU cannot freeze a machine with it.
            "-drive", f"file={self.dir}/disk.qcow2,if=virtio,format=qcow2,cache=unsafe",
            # The machine can reach only the metadata service and moto. (With IPv6, cloud-init would wait for fd00:ec2::254.)
            "-netdev", f"user,id=n0,ipv6=off,restrict=on,net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3,dhcpstart={ADDRESS}"
                       f",guestfwd=tcp:169.254.169.254:80-cmd:{relay} {self.metadata.port}"
                       f",guestfwd=tcp:169.254.169.254:5000-cmd:{relay} {aws.port}",
            "-device", f"virtio-net-pci,netdev=n0,mac={MAC}", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.dir}/console",
            "-chardev", f"socket,id=c1,path={self.dir}/shell,server=on,wait=off", "-device", "virtio-serial-pci",
            "-device", "virtconsole,chardev=c1", "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off",
            *(["-incoming", f"exec:cat {shlex.quote(str(state / 'memory'))}"] if state else []),
        ]
        overlay(state / "disk.qcow2" if state else image / "disk.raw", self.dir / "disk.qcow2")
        self.began = time.monotonic()
        with open(self.dir / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self.lock = threading.Lock()
        self.shell = self._connect("shell")
        self.heard, self.ready = b"", state is not None
        if not linked:
            self.link(False)
        if state:
            self._wait_for("query-status", "paused", "running", "inmigrate")
            self.qmp("cont")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.listener.join(10)
        self.shell.close()
        self.metadata.close()
        shutil.rmtree(self.dir)

    def now(self):
        """Seconds since the machine was switched on."""
        return time.monotonic() - self.began

    def _listen(self):
        with open(self.dir / "console", "rb") as console:
            rest = b""
            while True:
                over = self.process.poll() is not None
                rest += console.read()
                *lines, rest = rest.split(b"\n")
                self.lines += [(self.now(), line.decode(errors="replace").rstrip("\r")) for line in lines]
                if over:
                    self.off_at, self.code = self.now(), self.process.returncode
                    return
                time.sleep(0.02)

    def _connect(self, name):
        peer = socket.socket(socket.AF_UNIX)
        for _ in range(500):
            try:
                peer.connect(str(self.dir / name))
                return peer
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        raise Failure("QEMU does not start: " + (self.dir / "qemu.log").read_text(errors="replace"))

    def fail(self, what):
        lines = list(self.lines)
        told = [(at, line) for at, line in lines[:-15] if "muster:" in line] + lines[-15:]
        said = "".join(f"\n    [{at:6.1f}] {line[:200]}" for at, line in told)
        raise Failure(f"{what}, {self.now():.0f} s after the power switch; of the console:{said}")

    def says(self, pattern, within=None, after=0.0):
        """Waits until the console has this pattern, and returns the second of it."""
        within = within or self.patience
        deadline = time.monotonic() + within
        while True:
            for at, line in list(self.lines):
                if at >= after and re.search(pattern, line):
                    return at
            self.without_panic()
            if self.off_at is not None:
                self.fail(f"the machine is off, and its console has not said `{pattern}`")
            if time.monotonic() > deadline:
                self.fail(f"the console has not said `{pattern}` within {within} s")
            time.sleep(0.02)

    def without_panic(self):
        """Fails at once when the kernel panicked. Such a machine reboots and panics again until the deadline."""
        if any("Kernel panic" in line for _, line in list(self.lines)):
            try:
                self.fail("the kernel panicked")
            except Failure as failure:
                raise Panic(*failure.args) from None

    def never_said(self, pattern):
        for at, line in list(self.lines):
            if re.search(pattern, line):
                self.fail(f"the console said `{line}`")

    def off(self, within):
        """Waits until the machine is off, and returns the second of it."""
        deadline = time.monotonic() + within
        while self.off_at is None:
            if time.monotonic() > deadline:
                self.fail(f"the machine is still on after {within} s")
            time.sleep(0.02)
        return self.off_at

    def sh(self, command, within=None, check=True):
        """The output of a command, from a root shell in the machine."""
        within = within or self.patience
        mark = f"--{os.urandom(4).hex()}--"
        packed = base64.b64encode(command.encode()).decode()
        line = f"(echo {packed} | base64 -d >/run/looker.sh; timeout {within} bash /run/looker.sh </dev/null 2>&1); echo \"{mark}$?\"\n"
        with self.lock:
            deadline = time.monotonic() + within + 10
            # What the shell prints before it listens is no answer, and what is written to it before would be lost.
            while b"ready" not in self.heard and not self.ready:
                self._hear(deadline, command)
            self.ready, self.heard = True, b""
            self.shell.sendall(line.encode())
            while not re.search(mark.encode() + rb"\d+", self.heard):
                self._hear(deadline, command)
            said, _, code = self.heard.decode(errors="replace").replace("\r", "").rpartition(mark)
            code, self.heard = int(code.split()[0]), b""
        if check and code:
            self.fail(f"`{command}` left with {code}: {said}")
        return said

    def _hear(self, deadline, command):
        data = b""
        while not data and time.monotonic() < deadline:
            self.without_panic()
            self.shell.settimeout(1)
            try:
                data = self.shell.recv(65536)
            except TimeoutError:
                continue
            if not data:
                break
        if not data:
            self.fail(f"the shell in the machine does not answer to `{command}`: {self.heard[-500:]}")
        self.heard += data

    def eventually(self, command, within=None):
        """Repeats a command in the machine until it succeeds."""
        within = within or self.patience
        deadline = time.monotonic() + within
        while self.sh(f"{command} >/dev/null 2>&1 && echo yes || echo no").strip() != "yes":
            if time.monotonic() > deadline:
                self.fail(f"`{command}` does not succeed within {within} s")
            time.sleep(0.2)

    def qmp(self, execute, **arguments):
        """Sends a command to QEMU's own console, and returns the answer."""
        with self._connect("qmp") as peer, peer.makefile("rw") as lines:
            peer.settimeout(30)
            lines.readline()
            for call in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                lines.write(json.dumps(call) + "\n")
                lines.flush()
                while not {"return", "error"} & (said := json.loads(lines.readline() or '{"error": "gone"}')).keys():
                    pass
        if "error" in said:
            self.fail(f"QEMU answers to {execute}: {said['error']}")
        return said["return"]

    def _wait_for(self, query, wanted, *passing):
        """Waits until QEMU is in the state `wanted`. A state that is neither `wanted` nor in `passing` is a failure."""
        for _ in range(600):
            status = self.qmp(query).get("status", passing[0] if passing else "")
            if status == wanted:
                return
            if status not in passing:
                self.fail(f"{query}: {status}")
            time.sleep(0.1)
        self.fail(f"{query}: not {wanted} within 60 s")

    def freeze(self, into):
        """Writes the machine's state to files, and ends the machine. Other machines go on from there."""
        self.qmp("stop")
        self.qmp("migrate", uri=f"exec:cat >{shlex.quote(str(into / 'memory'))}")
        self._wait_for("query-migrate", "completed", "setup", "active", "device", "pre-switchover")
        self.qmp("quit")
        self.process.wait(30)
        (self.dir / "disk.qcow2").rename(into / "disk.qcow2")

    def press_power_button(self):
        """Presses the power button, as EC2 does when it terminates an instance."""
        self.qmp("system_powerdown")
        return self.now()

    def cut_power(self):
        """Resets the machine. What was not synced is lost, and the machine boots again."""
        self.ready = False
        self.heard = b""
        self.qmp("system_reset")
        return self.now()

    def link(self, up):
        self.qmp("set_link", name="n0", up=up)

    # --- the runner's stand-in, which obeys files (tests/stand-in/)

    def tell(self, word, text=""):
        at = "/var/tmp/control"
        self.sh(f"printf %s {shlex.quote(text)} >{at}/.{word}; chown runner {at}/.{word}; mv {at}/.{word} {at}/{word}")

    def works(self, job=""):
        """Brings a job, which runs its own text, if it has one, and then waits for `finish`."""
        self.tell("job", job)
        self.eventually("test -e /var/tmp/control/working")

    def output(self):
        return self.sh("cat /var/tmp/control/output")
