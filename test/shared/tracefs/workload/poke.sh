#!/bin/sh
# Pokes the kernel so that as many different tracepoints fire as this machine has: poke.sh POKE DIRECTORY
#
# It wants mount, network and PID namespaces of its own (workload.ts runs it under unshare): mounts, interfaces and
# processes end with it, however it ends, and loop devices free themselves with their mount. What is outside of
# namespaces is set back here, or at the start of the next run: a cgroup, swap on a zram device, KSM.
poke=$1
work=$2
exec 2>/dev/null </dev/null

memory=/sys/fs/cgroup/memory
[ -d $memory ] || memory=/sys/fs/cgroup
unified=/sys/fs/cgroup/unified
[ -d $unified ] || unified=/sys/fs/cgroup
zram=/dev/zram0

tidy() {
  swapoff $zram
  [ -e /sys/block/zram0/reset ] && echo 1 >/sys/block/zram0/reset
  rmdir $memory/vmspan-poke $unified/vmspan-poke/inner $unified/vmspan-poke $unified/vmspan-poke2
  [ -n "$huge" ] && echo "$huge" >/proc/sys/vm/nr_hugepages
}
huge=
tidy
trap tidy EXIT
trap 'exit 1' INT TERM HUP

mount -t tmpfs -o size=600m poke "$work"

# TYPE SIZE OPTIONS MKFS...: an image, a file system in it, files in that.
filesystem() {
  type=$1 size=$2 options=$3
  shift 3
  truncate -s "$size" "$work/$type.image"
  "$@" "$work/$type.image" >/dev/null || return
  mkdir -p "$work/$type"
  mount -o "loop,$options" -t "$type" "$work/$type.image" "$work/$type" || return
  "$poke" files "$work/$type"
  case $type in
  btrfs)
    btrfs quota enable "$work/$type"
    btrfs subvolume create "$work/$type/sub" >/dev/null
    btrfs subvolume snapshot "$work/$type" "$work/$type/snapshot" >/dev/null
    btrfs subvolume delete "$work/$type/snapshot" >/dev/null
    btrfs balance start -dusage=50 "$work/$type" >/dev/null
    ;;
  xfs)
    xfs_growfs "$work/$type" >/dev/null
    xfs_io -x -c "resblks" -c "fsmap" -c "bmap -av" -c "swapext $work/$type/mapped" "$work/$type/file" >/dev/null
    ;;
  ext4) resize2fs "$(findmnt -n -o SOURCE "$work/$type")" >/dev/null ;;
  esac
  sync -f "$work/$type"
  # Mounted anew, so that nothing of it is in memory.
  umount "$work/$type"
  mount -o "loop,$options" -t "$type" "$work/$type.image" "$work/$type" || return
  cat "$work/$type"/folder/* "$work/$type/file" >/dev/null
  rm -rf "$work/$type"/*
  umount "$work/$type"
  rm "$work/$type.image"
}

filesystems() {
  filesystem ext4 64m discard mkfs.ext4 -q -O fast_commit,metadata_csum
  filesystem ext4 16m data=journal,lazytime mkfs.ext4 -q -b 1024 -O ^extent,^metadata_csum
  filesystem xfs 320m discard mkfs.xfs -q -m reflink=1,rmapbt=1
  filesystem xfs 320m quota,wsync mkfs.xfs -q -m crc=0,reflink=0
  filesystem btrfs 128m discard mkfs.btrfs -q
  filesystem btrfs 128m compress=zlib,autodefrag mkfs.btrfs -q -m dup
}

network() {
  ip link set lo up
  ip link add veth0 type veth peer name veth1
  ip netns add poke-peer
  ip link add bridge0 type bridge
  ip link add veth2 type veth peer name veth3
  ip link set veth2 master bridge0
  for link in bridge0 veth2 veth3; do ip link set $link up; done
  bridge fdb add 52:54:00:00:00:01 dev veth2 master static
  bridge fdb del 52:54:00:00:00:01 dev veth2 master
  ip link set veth1 netns poke-peer
  ip -n poke-peer addr add 10.99.0.2/24 dev veth1
  ip -n poke-peer link set veth1 up
  ip -n poke-peer link set lo up
  ip addr add 10.99.0.1/24 dev veth0
  ip -6 addr add fd99::1/64 dev veth0 nodad
  ip link set veth0 up
  ip neigh add 10.99.0.9 lladdr 52:54:00:00:00:09 dev veth0
  ip neigh del 10.99.0.9 dev veth0
  ip route get 10.99.0.2 >/dev/null
  ip -6 route get fd99::2 >/dev/null
  tc qdisc add dev veth0 root pfifo limit 2
  "$poke" net
  "$poke" netlink
  tc qdisc del dev veth0 root
  ip netns exec poke-peer "$poke" bpf &
  for i in 1 2 3; do "$poke" net; done
  wait
  ip netns del poke-peer
  ip link del bridge0
}

cgroups() {
  mkdir $memory/vmspan-poke && {
    echo 16M >$memory/vmspan-poke/memory.limit_in_bytes
    echo 16M >$memory/vmspan-poke/memory.max
    sh -c "echo \$\$ >$memory/vmspan-poke/cgroup.procs; exec $poke pressure"
    echo 0 >$memory/vmspan-poke/memory.force_empty
    rmdir $memory/vmspan-poke
  }
  mkdir $unified/vmspan-poke && {
    mkdir $unified/vmspan-poke/inner
    sh -c "echo \$\$ >$unified/vmspan-poke/inner/cgroup.procs; sleep 0.05" &
    echo 1 >$unified/vmspan-poke/cgroup.freeze
    echo 0 >$unified/vmspan-poke/cgroup.freeze
    wait
    rmdir $unified/vmspan-poke/inner
    mv $unified/vmspan-poke $unified/vmspan-poke2
    rmdir $unified/vmspan-poke $unified/vmspan-poke2
  }
  mkdir "$work/v1" && mount -t cgroup -o none,name=vmspan v1 "$work/v1" && {
    mkdir "$work/v1/one"
    echo $$ >"$work/v1/one/cgroup.procs"
    echo $$ >"$work/v1/cgroup.procs"
    mount -o remount,none,name=vmspan,release_agent=/bin/true "$work/v1"
    mv "$work/v1/one" "$work/v1/two"
    rmdir "$work/v1/two"
    umount "$work/v1"
  }
}

# Swap in memory: only where there is none yet.
swap() {
  [ -b $zram ] && [ "$(wc -l </proc/swaps)" -le 1 ] || return
  echo 64M >/sys/block/zram0/disksize && mkswap -q $zram >/dev/null && swapon $zram
}

devices() {
  for device in /sys/block/loop7 /sys/block/vda; do cat $device/queue/scheduler $device/stat; done >/dev/null
  cat /sys/class/thermal/*/temp /sys/class/rtc/rtc0/time /proc/interrupts /proc/softirqs >/dev/null
  for control in /sys/devices/pci*/*/power/control /sys/devices/virtual/*/*/power/control; do
    old=$(cat "$control")
    echo on >"$control"
    echo "$old" >"$control"
    break
  done
  # A block device's own scheduler, on a loop device that nobody else has.
  truncate -s 8m "$work/disk"
  loop=$(losetup -f --show "$work/disk") && {
    name=${loop#/dev/}
    for scheduler in kyber mq-deadline bfq none; do
      echo $scheduler >/sys/block/$name/queue/scheduler
      dd if=/dev/zero of=$loop bs=64k count=16 oflag=direct
      dd if=$loop of=/dev/null bs=4k count=64 iflag=direct
    done
    blkdiscard $loop
    losetup -d $loop
  }
  mkdir "$work/fuse" && exec 9<>/dev/fuse &&
    mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 fuse "$work/fuse" && umount -l "$work/fuse"
  exec 9>&-
  mkdir "$work/lower" "$work/upper" "$work/scratch" "$work/merged"
  echo x >"$work/lower/file"
  mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/scratch" overlay "$work/merged" &&
    echo y >>"$work/merged/file"
}

huge=$(cat /proc/sys/vm/nr_hugepages)
[ "$huge" = 0 ] && echo 2 >/proc/sys/vm/nr_hugepages
swap
filesystems &
(
  mkdir "$work/locks"
  "$poke" locks "$work/locks"
  cgroups
  network
  devices
) &
for part in syscalls tasks time memory uring kvm; do "$poke" $part; done
wait
exit 0
