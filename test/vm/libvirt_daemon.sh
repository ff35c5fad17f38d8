#!/bin/sh
# Runs a libvirtd of the tests' own: in a mount namespace whose libvirt folders are empty, so that
# the machine's own libvirt, its domains and its users stay as they are.
#
#   unshare --mount sh libvirt_daemon.sh
#
# What has to see this libvirt (virsh, agent-host) is run in there with nsenter.
set -e
mount --make-rprivate /
for folder in /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
  mkdir -p "$folder"
  mount -t tmpfs tmpfs "$folder"
done

cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
stdio_handler = "file"
END
cat >/etc/libvirt/libvirtd.conf <<END
auth_unix_rw = "none"
auth_unix_ro = "none"
END

# The driver looks this user up even when it runs QEMU as root. Only a full installation makes it.
for file in passwd group; do
  cp "/etc/$file" "/run/libvirt/$file"
  mount --bind "/run/libvirt/$file" "/etc/$file"
done
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/:/bin/false' >>/etc/passwd
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group

exec libvirtd --config /etc/libvirt/libvirtd.conf
