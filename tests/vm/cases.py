"""What a booting Linux once did to an instance, one case each. docs/a-real-machine.md tells the story of each. A case takes a Bench, looks
at one or more machines (`box`), and may return figures."""

MARK = "muster: ended: "

# What the pools say besides the minimum. Terraform renders all user data at once. Where a bootDeadline is short, a warning is tested.
POOLS = {
    "plain": {"bootstrap": {"sudo": True}},
    "docker": {"bootstrap": {"preInstall": "mv /usr/bin/docker.deb /usr/bin/docker; sleep 91"}, "runner": {"bootDeadline": "180s"}},
}


def straight_through(bench):
    """The boot comes to its end (1), Docker and sudo work in a job (8), a drain waits for the job, and the machine powers itself off."""
    with bench.listening() as box:
        box.eventually("test $(systemctl is-system-running) = running")
        for words in ("cloud-init status --wait", "systemctl is-active cloud-init.target muster-box.service"):
            box.sh(words)
        box.sh("systemd-run --quiet --wait -p After=cloud-final.service true")  # units that wait for the end of the boot can start
        box.works("id -un; sudo -n id -un; docker version --format '{{.Server.Version}}'; "
                  "tar -C /bin -c busybox | docker import - bb && docker run --rm --network none bb /busybox echo from a container; echo over")
        box.eventually("grep -q over /var/tmp/control/output")
        said = box.output()
        if not said.startswith("runner\nroot\n") or "\nfrom a container\n" not in said:
            box.fail(f"the job is not its user, may not become root, or has no Docker: {said}")
        box.metadata.tag("muster:drain", "the test's")
        box.says("muster: drained: the test's; it waits for the job to end")
        box.tell("finish")
        ended = box.says(MARK + "the runner is done")
        return {"last word to power off": box.off(box.soon) - ended}


def hard_start(bench):
    """The network is late (10). preInstall installs a Docker that nothing starts (8), and takes most of bootDeadline (9). Meanwhile the clock
    steps forward by ten minutes (2)."""
    with bench.box("docker", linked=False) as box:
        box.sh("mv /usr/bin/docker /usr/bin/docker.deb; systemctl is-active systemd-networkd || :; sleep 8")
        box.link(True)
        box.says("muster: stage secret")
        box.sh("systemctl stop systemd-timesyncd; date -s '+10 minutes'")
        box.says("muster: preInstall took [0-9]+ s of the 180 s that this pool's bootDeadline leaves")
        box.says("muster: stage listener")
        box.works("docker ps")
        box.eventually("grep -q 'CONTAINER ID' /var/tmp/control/output")


def clock_steps_back(bench):
    """The clock steps back while the instance runs, and the instance still hears everything (3)."""
    with bench.listening() as box:
        box.sh("systemctl stop systemd-timesyncd; date -s '-5 minutes'")
        box.metadata.spot_notice("2026-11-29T12:00:00Z")
        box.says(MARK + "spot takes this box at 2026-11-29T12:00:00Z", box.soon)
        box.off(box.soon)


SLOW_PACKAGE = """mkdir -p /tmp/slow/DEBIAN
printf 'Package: slow\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n' >/tmp/slow/DEBIAN/control
printf '#!/bin/sh\\nsleep 600\\n' >/tmp/slow/DEBIAN/postinst
chmod 755 /tmp/slow/DEBIAN/postinst
dpkg-deb -b /tmp/slow /tmp/slow.deb
systemd-run --quiet --unit=apt apt-get install -y /tmp/slow.deb
"""


def apt_forbids_the_end(bench):
    """apt works when the instance should end, and `shutdown` obeys apt (4)."""
    with bench.listening() as box:
        box.sh(SLOW_PACKAGE)
        box.eventually("systemd-inhibit --list --no-legend --no-pager | grep -q block")
        refused = box.sh("shutdown -h now", check=False)
        if "nhibit" not in refused:
            box.fail(f"`shutdown` is not refused, so this shows nothing: {refused}")
        box.metadata.tag("muster:drain", "the test's")
        box.says(MARK + "drained: the test's")
        box.off(box.soon)


def power_button(bench):
    """EC2 presses the power button. The runner leaves, and the machine is off in seconds (5)."""
    with bench.listening() as box:
        pressed = box.press_power_button()
        box.says(MARK + "stopped by a signal")
        return {"power button to off, idle": box.off(box.soon) - pressed}


def power_button_at_work(bench):
    """EC2 presses the power button while a job runs (5)."""
    with bench.listening() as box:
        box.works()
        pressed = box.press_power_button()
        box.says(MARK + "stopped by a signal")
        return {"power button to off, with a job": box.off(box.soon) - pressed}


def power_cut(bench):
    """The power fails in the first seconds, when only our marks are certain to be on the disk. The next boot ends the instance (6)."""
    with bench.box("plain") as box:
        box.says("muster: box ")
        cut = box.cut_power()
        box.says(MARK + "second boot: this box had its turn", after=cut)
        box.off(box.soon)


def reboot(bench):
    """A job reboots the machine, which then powers off (7)."""
    with bench.listening() as box:
        box.works()
        box.sh("systemctl --no-block reboot")
        box.says(MARK + "stopped by a signal")
        box.says(MARK + "second boot: this box had its turn")
        box.off(box.soon)


def script_dies(bench):
    """Somebody kills the script itself. The end of its unit powers the machine off."""
    with bench.listening() as box:
        box.sh("kill -KILL $(systemctl show -p MainPID --value muster-box)")
        box.off(box.soon)


def unit_is_left_alone(bench):
    """A job that is root asks systemd to stop and to restart the script's unit. systemd refuses, and the job goes on."""
    with bench.listening() as box:
        box.works()
        for verb in ("stop", "restart"):
            said = box.sh(f"systemctl {verb} muster-box", check=False)
            if "refused" not in said:
                box.fail(f"systemctl {verb} is not refused: {said}")
        box.sh("systemctl is-active muster-box")
        box.tell("finish")
        box.says(MARK + "the runner is done")
        box.off(box.soon)


def hardship(bench):
    """A job takes all memory, and then fills the disk (10). The script notices the job's end, and ends the instance."""
    with bench.listening() as box:
        box.works("tail /dev/zero; echo tail left with $?; dd if=/dev/zero of=/var/tmp/fill bs=1M; echo dd left with $?; rm /var/tmp/fill")
        box.eventually("grep -q 'dd left with 1' /var/tmp/control/output")
        if "tail left with 137" not in box.output():
            box.fail(f"memory did not end: {box.output()}")
        box.sh("systemctl is-active muster-box")
        box.tell("finish")
        box.says(MARK + "the runner is done")
        box.off(box.soon)


# The long cases come first, because two run at a time.
CASES = (hard_start, power_cut, reboot, straight_through, hardship, clock_steps_back, apt_forbids_the_end, power_button, power_button_at_work,
         script_dies, unit_is_left_alone)
