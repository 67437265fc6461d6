#!/usr/bin/env bash
# Test hosts on this machine: hosts.sh check | up N | start I | cut I | wipe I | down
#
# Each is a network namespace with PID, mount, hostname and IPC namespaces of its own and an sshd as its first
# process, at 10.78.0.11, .12, ... A PID namespace, because `ray stop` ends every Ray process that it sees; the
# kernel ends all processes of a host with its first. /root, /tmp, and what is written to /etc and /var are a host's own
# disk, which `cut` leaves and `wipe` empties. Of the checkout it sees .venv alone; /mnt/shared is $HOSTS/shared on all of them.
# Everything lies under $HOSTS: keys, disks, logs. Needs root, iproute2, openssh-server and rsync.
set -euo pipefail

HOSTS=${HOSTS:?a folder for keys, disks and logs}
CHECKOUT=$(cd "$(dirname "$0")/../.." && pwd)
VENV=$(realpath "$CHECKOUT/.venv")
PREFIX=$("$VENV/bin/python" -c 'import sys; print(sys.base_prefix)')
BRIDGE=mtsbr0
SUBNET=10.78.0

lacks() {  # one line that says why there can be no hosts here, or nothing
    [ "$(uname)" = Linux ] || { echo "test hosts are made of Linux namespaces"; return; }
    [ "$(id -u)" = 0 ] || { echo "test hosts need root"; return; }
    command -v ip >/dev/null || { echo "test hosts need iproute2 (apt-get install iproute2)"; return; }
    [ -x /usr/sbin/sshd ] || { echo "test hosts need openssh-server (apt-get install openssh-server)"; return; }
    command -v rsync >/dev/null || { echo "ray up needs rsync (apt-get install rsync)"; return; }
    ! ip link show $BRIDGE >/dev/null 2>&1 || { echo "test hosts are up already (HOSTS=... $0 down)"; return; }
    ip netns add mtsprobe 2>/dev/null || { echo "this machine lets nobody make network namespaces"; return; }
    ip netns del mtsprobe
    unshare --pid --fork --mount true 2>/dev/null || echo "this machine lets nobody make PID and mount namespaces"
}

name() { echo "mts$1"; }

network() {  # I: the namespace, and its wire to the bridge
    local host; host=$(name "$1")
    ip netns add "$host"
    ip link add "v$host" type veth peer name eth0 netns "$host"
    ip link set "v$host" master $BRIDGE up
    ip -n "$host" addr add "$SUBNET.1$1/24" dev eth0
    ip -n "$host" link set lo up
    ip -n "$host" link set eth0 up
    ip -n "$host" route add default via $SUBNET.1
}

disk() {  # I: an empty disk, with nothing but the key that lets us in
    local dir; dir="$HOSTS/$(name "$1")"
    mkdir -p "$dir/root/.ssh" "$dir/tmp"
    cp "$HOSTS/hostkey" "$HOSTS/hostkey.pub" "$dir"
    cp "$HOSTS/key.pub" "$dir/root/.ssh/authorized_keys"
    chmod 700 "$dir/root" "$dir/root/.ssh"; chmod 600 "$dir/root/.ssh/authorized_keys"
    printf 'export PATH=%s/bin:$PATH\n' "$VENV" | tee "$dir/root/.bashrc" >"$dir/root/.profile"
    printf '%s\n' "ListenAddress $SUBNET.1$1" "HostKey /mnt/host/hostkey" "PidFile none" "UsePAM no" "StrictModes no" \
        "PasswordAuthentication no" "PermitRootLogin prohibit-password" "MaxStartups 50:30:100" >"$dir/sshd_config"
}

boot() {  # I: the namespaces, and sshd as their first process
    local host; host=$(name "$1")
    HOST=$host DIR=$HOSTS/$host SHARED=$HOSTS/shared CHECKOUT=$CHECKOUT VENV=$VENV PREFIX=$PREFIX \
        setsid ip netns exec "$host" unshare --pid --fork --kill-child --mount --mount-proc --uts --ipc bash -ec '
            hostname "$HOST"
            mount --make-rprivate /
            mount -t tmpfs tmpfs /mnt
            mount -t tmpfs tmpfs /dev/shm
            mkdir /mnt/host /mnt/shared /mnt/venv /mnt/prefix  # what comes hides where these lie
            mount --bind "$DIR" /mnt/host
            mount --bind "$SHARED" /mnt/shared
            mount --bind "$VENV" /mnt/venv
            mount --bind "$PREFIX" /mnt/prefix
            for place in /etc /var/lib /var/log; do  # as they are here, with what the host writes on top
                own=/mnt/host/own$place
                mkdir -p "$own/upper" "$own/work"
                mount -t overlay overlay -o "lowerdir=$place,upperdir=$own/upper,workdir=$own/work" "$place"
            done
            mount -t tmpfs tmpfs /run
            mkdir /run/sshd
            mount --bind /mnt/host/root /root
            mount --bind /mnt/host/tmp /tmp
            for checkout in "$CHECKOUT" "$(dirname "$VENV")"; do
                [ ! -f "$checkout/pyproject.toml" ] || mount -t tmpfs tmpfs "$checkout"
            done
            for place in venv prefix; do
                real=$VENV; [ $place = venv ] || real=$PREFIX
                mkdir -p "$real"
                mount --bind "/mnt/$place" "$real"
            done
            exec /usr/sbin/sshd -D -f /mnt/host/sshd_config -E /mnt/host/sshd.log
        ' </dev/null >"$HOSTS/$host/boot.log" 2>&1 &
}

answers() {  # I: wait until it lets us in
    for _ in $(seq 60); do
        ssh -i "$HOSTS/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
            -o ConnectTimeout=2 "root@$SUBNET.1$1" true 2>/dev/null && return
        sleep 0.5
    done
    echo "host $1 does not answer: $(cat "$HOSTS/$(name "$1")/boot.log" "$HOSTS/$(name "$1")/sshd.log")" >&2
    return 1
}

ended() {  # I: kill what is in its namespaces
    local host; host=$(name "$1")
    for pid in $(ip netns pids "$host" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
}

case "${1:-}" in
check) lacks ;;
up)
    why=$(lacks); [ -z "$why" ] || { echo "$why" >&2; exit 1; }
    mkdir -p /run/sshd "$HOSTS/shared"
    for key in key hostkey; do [ -f "$HOSTS/$key" ] || ssh-keygen -q -t ed25519 -N '' -f "$HOSTS/$key"; done
    ip link add $BRIDGE type bridge
    ip addr add $SUBNET.1/24 dev $BRIDGE
    ip link set $BRIDGE up
    for i in $(seq "$2"); do network "$i"; disk "$i"; boot "$i"; done
    for i in $(seq "$2"); do answers "$i"; done ;;
start) ip link set "v$(name "$2")" up; boot "$2"; answers "$2" ;;
cut)  # as a power cut: no packet says goodbye
    ip link set "v$(name "$2")" down
    ended "$2" ;;
wipe) rm -rf "${HOSTS:?}/$(name "$2")"; disk "$2" ;;
down)
    for host in $(ip netns list 2>/dev/null | awk '/^mts[0-9]/{print $1}'); do
        ended "${host#mts}"
        ip link del "v$host" 2>/dev/null || true  # at once: with its namespace it goes a little later
        ip netns del "$host"
    done
    ip link del $BRIDGE 2>/dev/null || true ;;
*) echo "usage: hosts.sh check | up N | start I | cut I | wipe I | down" >&2; exit 2 ;;
esac
