#!/bin/sh
# customize.sh ROOT, called by mmdebstrap: makes the tree a box of EC2's kind that a test can look into.
set -eu
root=$1
echo muster-box >"$root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d" "$root/etc/cloud/cloud.cfg.d"
printf '[Journal]\nStorage=persistent\n' >"$root/etc/systemd/journald.conf.d/box.conf"

# AWS is moto, at the other end of the box's wire. User data stays as Terraform renders it.
printf "[Manager]\nDefaultEnvironment=AWS_ENDPOINT_URL=http://169.254.169.254:5000 TEST_CONTROL=/var/tmp/control\n" \
  >"$root/etc/systemd/system.conf.d/aws.conf"

# As in EC2's images: the metadata service and nothing else. (No SSH keys: entropy and seconds for nothing.)
printf '%s\n' 'datasource_list: [ Ec2, None ]' 'locale: false' 'ssh_genkeytypes: []' 'ssh_deletekeys: false' \
  'apt: {preserve_sources_list: true}' >"$root/etc/cloud/cloud.cfg.d/95_ec2.cfg"

# As on Amazon Linux: Docker is there, and nothing starts it.
chroot "$root" systemctl disable docker.service docker.socket containerd.service
chroot "$root" systemctl disable apt-daily.timer apt-daily-upgrade.timer # the tests say when apt works

# A root shell on a console of its own: there early and until late, and tied to nothing that is tested.
cat >"$root/etc/systemd/system/looker.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=systemd-udevd.service
[Service]
ExecStartPre=-/sbin/modprobe virtio_console
ExecStart=/bin/sh -c 'until [ -c /dev/hvc0 ]; do sleep 0.1; done; exec </dev/hvc0 >/dev/hvc0 2>&1; stty raw -echo; echo ready; cat | bash --noprofile --norc'
KillMode=process
UNIT
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -sf /etc/systemd/system/looker.service "$root/etc/systemd/system/sysinit.target.wants/looker.service"
ln -sf /dev/null "$root/etc/systemd/system/serial-getty@hvc0.service" # a getty would listen there, too

# Where a test leads the runner's stand-in (tests/stand-in/).
mkdir -p "$root/var/tmp/control"
chmod 1777 "$root/var/tmp/control"
