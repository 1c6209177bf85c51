#!/usr/bin/env bash
# Prints figures of the sandbox's API server, one per line; with KUBEBUILDER_ASSETS (a folder with etcd and
# kube-apiserver) those of the real one too, driven by the same client, and the ratio. Loopback only; nothing stays behind.
# usage: bench/apiserver.sh [pods]     (default 10,000)
# With DATA=1 both keep their state durably: the sandbox with --data, etcd with fsync. Without, neither waits for a disk.
set -euo pipefail
cd "$(dirname "$0")/.."
pods=${1:-10000}
if [ -z "${BIN:-}" ]; then
  cargo build --release --quiet
  cargo build --release --quiet -p steersman-sandbox --example apibench
  BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/release
fi
dir=$(mktemp -d)
# An API server without its etcd does not end by itself.
trap 'kill -KILL $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
# ready KUBECONFIG LOG PID...: waits for an API server; one of its processes may have ended (a port in use).
ready() {
  local kubeconfig=$1 log=$2; shift 2
  for _ in $(seq 300); do
    [ -s "$kubeconfig" ] && kubectl --kubeconfig "$kubeconfig" get --raw /readyz >/dev/null 2>&1 && return
    kill -0 "$@" 2>/dev/null || break
    sleep 0.3
  done
  echo "the API server is not ready:" >&2; tail -5 "$log" >&2; exit 1
}
rss() { for p in "$@"; do awk '/^VmRSS/ {print $2}' "/proc/$p/status"; done | awk '{s+=$1} END {printf "memory_mebibytes %.1f\n", s/1024}'; }
bench() { "$BIN/examples/apibench" --kubeconfig "$1" --pids "$2" --pods "$pods"; rss ${2//,/ }; }

flags=(); [ -z "${DATA:-}" ] || flags=(--data "$dir/data")
"$BIN/steersman" sandbox --nodes 0 --no-controllers --kubeconfig-out "$dir/sandbox" "${flags[@]}" >"$dir/sandbox.log" 2>&1 & s=$!
ready "$dir/sandbox" "$dir/sandbox.log" $s
bench "$dir/sandbox" $s >"$dir/ours"
kill $s; wait $s || true
if [ -z "${KUBEBUILDER_ASSETS:-}" ]; then
  awk '{printf "sandbox_%s %s\n", $1, $2}' "$dir/ours"
  echo "the real API server was not measured: KUBEBUILDER_ASSETS is not set" >&2
  exit
fi

port=${PORT:-16543} client=$((${PORT:-16543}+1000)) peer=$((${PORT:-16543}+1001))
fsync=(--unsafe-no-fsync); [ -z "${DATA:-}" ] || fsync=()
openssl genrsa -out "$dir/sa.key" 2048 2>/dev/null
echo "admin-token,admin,admin,system:masters" >"$dir/tokens.csv"
"$KUBEBUILDER_ASSETS/etcd" --data-dir "$dir/etcd" --listen-client-urls "http://127.0.0.1:$client" \
  --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
  --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
  --quota-backend-bytes 8589934592 "${fsync[@]}" >"$dir/etcd.log" 2>&1 & e=$!
"$KUBEBUILDER_ASSETS/kube-apiserver" "--etcd-servers=http://127.0.0.1:$client" "--secure-port=$port" --bind-address=127.0.0.1 \
  --cert-dir="$dir/certs" --token-auth-file="$dir/tokens.csv" --authorization-mode=RBAC \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$dir/sa.key" \
  --service-account-signing-key-file="$dir/sa.key" --service-cluster-ip-range=10.0.0.0/16 \
  --disable-admission-plugins=ServiceAccount --max-requests-inflight=2000 --max-mutating-requests-inflight=1000 \
  >"$dir/apiserver.log" 2>&1 & a=$!
cat >"$dir/real" <<K
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: admin-token}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
K
ready "$dir/real" "$dir/apiserver.log" $a $e
bench "$dir/real" "$a,$e" >"$dir/theirs"
# A ratio above 1 is in favour of the sandbox, whatever the unit.
join <(sort "$dir/ours") <(sort "$dir/theirs") | awk '{
  ratio = ($1 ~ /_per_second$/) ? $2/$3 : $3/$2
  printf "%s sandbox %s real %s ratio %.1f\n", $1, $2, $3, ratio
}'
