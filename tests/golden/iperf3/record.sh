#!/bin/bash
# Records real iperf3 output: record.sh LABEL PROGRAM, as root. See README.md.
#
# Two namespaces joined by veth, each with a host name of its own, 200 Mbit/s each way.
set -u
label=$1 iperf3=$2 here=$(cd "$(dirname "$0")" && pwd)
a=golden-a z=golden-z

cleanup() { ip netns del $a 2>/dev/null; ip netns del $z 2>/dev/null; }
trap cleanup EXIT
cleanup
for ns in $a $z; do ip netns add $ns; ip -n $ns link set lo up; done
ip link add eth0 netns $a type veth peer name eth0 netns $z
ip -n $a addr add 192.0.2.1/30 dev eth0
ip -n $z addr add 192.0.2.2/30 dev eth0
ip -n $a addr add 2001:db8::1/64 dev eth0 nodad
ip -n $z addr add 2001:db8::2/64 dev eth0 nodad
for ns in $a $z; do
    ip -n $ns link set eth0 up
    tc -n $ns qdisc add dev eth0 root tbf rate 200mbit burst 256kb latency 20ms
done

onprem() { ip netns exec $a unshare --uts sh -c 'hostname onprem-a; exec "$@"' sh "$@"; }
ecs() { ip netns exec $z unshare --uts sh -c 'hostname ecs-z; exec "$@"' sh "$@"; }
listening() {  # never by connecting: a one-shot server would take that for its client
    for _ in $(seq 100); do
        ip netns exec $z ss -Hltn "sport = 5201" | grep -q . && return
        sleep 0.05
    done
}

# pair NAME SERVER_ADDRESS CLIENT_ADDRESS CLIENT_OPTIONS...
pair() {
    local name=$label-$1 server=$2 client=$3; shift 3
    ecs "$iperf3" -s -1 -J -B "$server" -p 5201 >"$here/$name-server.json" &
    local pid=$!
    listening
    onprem "$iperf3" -J -c "$server" -B "$client" -p 5201 -i 1 "$@" >"$here/$name-client.json"
    echo "$name: client exit $?"
    wait $pid; echo "$name: server exit $?"
}
v4() { local name=$1; shift; pair "$name" 192.0.2.2 192.0.2.1 "$@"; }
lossy() {  # lossy NAMESPACE MATCH: 2 % of what matches, counted
    ip netns exec "$1" nft add table inet gold
    ip netns exec "$1" nft add chain inet gold in '{ type filter hook input priority 0; }'
    ip netns exec "$1" nft add rule inet gold in udp $2 5201 udp length '>' 1000 numgen random mod 1000 '<' 20 counter drop
}
lossless() {
    echo "dropped: $(ip netns exec "$1" nft list table inet gold | grep -o 'packets [0-9]*')"
    ip netns exec "$1" nft delete table inet gold
}

onprem "$iperf3" --version >"$here/$label-version.txt"
onprem "$iperf3" --help >"$here/$label-help.txt"

v4 tcp -t 3 -O 1
v4 tcp-p4 -t 3 -O 1 -P 4
v4 tcp-reverse -t 3 -O 1 -R
v4 tcp-bidir -t 3 -O 1 --bidir
v4 udp -u -b 20M -l 1400 -t 3 --udp-counters-64bit
v4 udp-omit -u -b 20M -l 1400 -t 3 -O 1 --udp-counters-64bit
v4 udp-reverse -u -b 20M -l 1400 -t 3 -R --udp-counters-64bit
v4 udp-bidir -u -b 20M -l 1400 -t 3 --bidir --udp-counters-64bit
v4 udp-p2 -u -b 10M -l 1400 -t 3 -P 2 --udp-counters-64bit
pair tcp-ipv6 2001:db8::2 2001:db8::1 -t 2

lossy $z dport
v4 udp-loss -u -b 20M -l 1400 -t 3 --udp-counters-64bit
lossless $z
lossy $a sport
v4 udp-reverse-loss -u -b 20M -l 1400 -t 3 -R --udp-counters-64bit
lossless $a

if "$iperf3" --help | grep -q json-stream; then
    v4 tcp-stream -t 3 -O 1 --json-stream
    v4 udp-stream -u -b 20M -l 1400 -t 3 --udp-counters-64bit --json-stream
    v4 tcp-bidir-stream -t 3 --bidir --json-stream
fi

# Errors.
onprem "$iperf3" -J -c 192.0.2.2 -p 5201 -t 1 >"$here/$label-refused-client.json"
echo "$label-refused: client exit $?"

ecs "$iperf3" -s -1 -J -B 192.0.2.2 -p 5201 >/dev/null & server=$!
listening
onprem "$iperf3" -c 192.0.2.2 -p 5201 -t 3 >/dev/null & first=$!
sleep 1
onprem "$iperf3" -J -c 192.0.2.2 -p 5201 -t 1 >"$here/$label-busy-client.json"
echo "$label-busy: client exit $?"
wait $first $server

ecs "$iperf3" -s -1 -J -B 192.0.2.2 -p 5201 >"$here/$label-client-killed-server.json" & server=$!
listening
onprem "$iperf3" -J -c 192.0.2.2 -p 5201 -t 10 >"$here/$label-interrupted-client.json" & client=$!
sleep 2.5; kill -INT $(ip netns pids $a)
wait $client; echo "$label-interrupted: client exit $?"
wait $server; echo "$label-client-killed: server exit $?"

ecs "$iperf3" -s -1 -J -B 192.0.2.2 -p 5201 >"$here/$label-interrupted-server.json" & server=$!
listening
onprem "$iperf3" -J -c 192.0.2.2 -p 5201 -t 10 >"$here/$label-server-killed-client.json" & client=$!
sleep 2.5; kill -TERM $(ip netns pids $z)
wait $client; echo "$label-server-killed: client exit $?"
wait $server; echo "$label-interrupted: server exit $?"

v4 window -t 1 -w 64M  # above rmem_max: it ends with an error
