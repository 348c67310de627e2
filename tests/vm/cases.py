"""What a booting Linux once did to an instance, one case each. docs/a-real-machine.md tells the story of each. A case takes a Bench, looks
at one or more machines (`machine`), and may return figures."""

MARK = "muster: ended: "

# What the pools say besides the minimum. Terraform renders all user data at once. Where a bootDeadline is short, a warning is tested.
POOLS = {
    "plain": {"bootstrap": {"sudo": True}},
    "docker": {"bootstrap": {"preInstall": "mv /usr/bin/docker.deb /usr/bin/docker; sleep 91"}, "runner": {"bootDeadline": "180s"}},
}


def straight_through(bench):
    """The boot comes to its end (1), Docker and sudo work in a job (8), a drain waits for the job, and the machine powers itself off."""
    with bench.listening() as machine:
        machine.eventually("test $(systemctl is-system-running) = running")
        for words in ("cloud-init status --wait", "systemctl is-active cloud-init.target muster-box.service"):
            machine.sh(words)
        machine.sh("systemd-run --quiet --wait -p After=cloud-final.service true")  # units that wait for the end of the boot can start
        machine.works("id -un; sudo -n id -un; docker version --format '{{.Server.Version}}'; "
                      "tar -C /bin -c busybox | docker import - bb && docker run --rm --network none bb /busybox echo from a container; echo over")
        machine.eventually("grep -q over /var/tmp/control/output")
        said = machine.output()
        if not said.startswith("runner\nroot\n") or "\nfrom a container\n" not in said:
            machine.fail(f"the job is not its user, may not become root, or has no Docker: {said}")
        machine.metadata.tag("muster:drain", "the test's")
        machine.says("muster: drained: the test's; it waits for the job to end")
        machine.tell("finish")
        ended = machine.says(MARK + "the runner is done")
        return {"last word to power off": machine.off(machine.soon) - ended}


def hard_start(bench):
    """The network is late (10). preInstall installs a Docker that nothing starts (8), and takes most of bootDeadline (9). Meanwhile the clock
    steps forward by ten minutes (2)."""
    with bench.machine("docker", linked=False) as machine:
        machine.sh("mv /usr/bin/docker /usr/bin/docker.deb; systemctl is-active systemd-networkd || :; sleep 8")
        machine.link(True)
        machine.says("muster: stage secret")
        machine.sh("systemctl stop systemd-timesyncd; date -s '+10 minutes'")
        machine.says("muster: preInstall took [0-9]+ s of the 180 s that this pool's bootDeadline leaves")
        machine.says("muster: stage listener")
        machine.works("docker ps")
        machine.eventually("grep -q 'CONTAINER ID' /var/tmp/control/output")


def clock_steps_back(bench):
    """The clock steps back while the instance runs, and the instance still hears everything (3)."""
    with bench.listening() as machine:
        machine.sh("systemctl stop systemd-timesyncd; date -s '-5 minutes'")
        machine.metadata.spot_notice("2026-11-29T12:00:00Z")
        machine.says(MARK + "spot takes this instance at 2026-11-29T12:00:00Z", machine.soon)
        machine.off(machine.soon)


SLOW_PACKAGE = """mkdir -p /tmp/slow/DEBIAN
printf 'Package: slow\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n' >/tmp/slow/DEBIAN/control
printf '#!/bin/sh\\nsleep 600\\n' >/tmp/slow/DEBIAN/postinst
chmod 755 /tmp/slow/DEBIAN/postinst
dpkg-deb -b /tmp/slow /tmp/slow.deb
systemd-run --quiet --unit=apt apt-get install -y /tmp/slow.deb
"""


def apt_forbids_the_end(bench):
    """apt works when the instance should end, and `shutdown` obeys apt (4)."""
    with bench.listening() as machine:
        machine.sh(SLOW_PACKAGE)
        machine.eventually("systemd-inhibit --list --no-legend --no-pager | grep -q block")
        refused = machine.sh("shutdown -h now", check=False)
        if "nhibit" not in refused:
            machine.fail(f"`shutdown` is not refused, so this shows nothing: {refused}")
        machine.metadata.tag("muster:drain", "the test's")
        machine.says(MARK + "drained: the test's")
        machine.off(machine.soon)


def power_button(bench):
    """EC2 presses the power button. The runner leaves, and the machine is off in seconds (5)."""
    with bench.listening() as machine:
        pressed = machine.press_power_button()
        machine.says(MARK + "stopped by a signal")
        return {"power button to off, idle": machine.off(machine.soon) - pressed}


def power_button_at_work(bench):
    """EC2 presses the power button while a job runs (5)."""
    with bench.listening() as machine:
        machine.works()
        pressed = machine.press_power_button()
        machine.says(MARK + "stopped by a signal")
        return {"power button to off, with a job": machine.off(machine.soon) - pressed}


def power_cut(bench):
    """The power fails in the first seconds, when only our marks are certain to be on the disk. The next boot ends the instance (6)."""
    with bench.machine("plain") as machine:
        machine.says("muster: instance ")
        cut = machine.cut_power()
        machine.says(MARK + "second boot: this instance had its turn", after=cut)
        machine.off(machine.soon)


def reboot(bench):
    """A job reboots the machine, which then powers off (7)."""
    with bench.listening() as machine:
        machine.works()
        machine.sh("systemctl --no-block reboot")
        machine.says(MARK + "stopped by a signal")
        machine.says(MARK + "second boot: this instance had its turn")
        machine.off(machine.soon)


def script_dies(bench):
    """Somebody kills the script itself. The end of its unit powers the machine off."""
    with bench.listening() as machine:
        machine.sh("kill -KILL $(systemctl show -p MainPID --value muster-box)")
        machine.off(machine.soon)


def unit_is_left_alone(bench):
    """A job that is root asks systemd to stop and to restart the script's unit. systemd refuses, and the job goes on."""
    with bench.listening() as machine:
        machine.works()
        for verb in ("stop", "restart"):
            said = machine.sh(f"systemctl {verb} muster-box", check=False)
            if "refused" not in said:
                machine.fail(f"systemctl {verb} is not refused: {said}")
        machine.sh("systemctl is-active muster-box")
        machine.tell("finish")
        machine.says(MARK + "the runner is done")
        machine.off(machine.soon)


def hardship(bench):
    """A job takes all memory, and then fills the disk (10). The script notices the job's end, and ends the instance."""
    with bench.listening() as machine:
        machine.works("tail /dev/zero; echo tail left with $?; dd if=/dev/zero of=/var/tmp/fill bs=1M; echo dd left with $?; rm /var/tmp/fill")
        machine.eventually("grep -q 'dd left with 1' /var/tmp/control/output")
        if "tail left with 137" not in machine.output():
            machine.fail(f"memory did not end: {machine.output()}")
        machine.sh("systemctl is-active muster-box")
        machine.tell("finish")
        machine.says(MARK + "the runner is done")
        machine.off(machine.soon)


# The long cases come first, because two run at a time.
CASES = (hard_start, power_cut, reboot, straight_through, hardship, clock_steps_back, apt_forbids_the_end, power_button, power_button_at_work,
         script_dies, unit_is_left_alone)
