#!/usr/bin/env bash
# Prints figures of the deployment and replicaset controllers on a real API server, side by side: those of
# kube-controller-manager and those of `steersman run`, each on a fresh etcd and kube-apiserver, one after the other, and
# the ratio. N Deployments are created, then each gets a new template; pods become ready at once.
# Needs KUBEBUILDER_ASSETS, a folder with etcd, kube-apiserver and kube-controller-manager. Loopback only; nothing stays
# behind.
# usage: bench/workloads.sh [deployments] [replicas]     (default 1,000 and 5)
# ONLY=steersman (or kube-controller-manager) measures one of them; PORT is the API server's, the next 1,001 may be used.
set -euo pipefail
cd "$(dirname "$0")/.."
deployments=${1:-1000} replicas=${2:-5}
assets=${KUBEBUILDER_ASSETS:?a folder with etcd, kube-apiserver and kube-controller-manager}
if [ -z "${BIN:-}" ]; then
  cargo build --release --quiet
  cargo build --release --quiet --example workloads
  BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/release
fi
dir=$(mktemp -d)
# An API server without its etcd does not end by itself.
trap 'kill -KILL $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
port=${PORT:-16553} client=$((${PORT:-16553}+1000)) peer=$((${PORT:-16553}+1001))
openssl genrsa -out "$dir/sa.key" 2048 2>/dev/null
echo "admin-token,admin,admin,system:masters" >"$dir/tokens.csv"
cat >"$dir/kubeconfig" <<K
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: admin-token}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
K

# ready URL WHAT LOG PID...: waits until it answers; one of its processes may have ended (a port in use).
ready() {
  local url=$1 what=$2 log=$3; shift 3
  for _ in $(seq 300); do
    curl --silent --insecure --fail --header "Authorization: Bearer admin-token" "$url" >/dev/null && return
    kill -0 "$@" 2>/dev/null || break
    sleep 0.3
  done
  echo "$what is not ready:" >&2; tail -5 "$log" >&2; exit 1
}

# measure NAME READY-URL COMMAND...: figures of that controller on a fresh control plane, into $dir/NAME.
measure() {
  local name=$1 url=$2; shift 2
  rm -rf "$dir/etcd" "$dir/certs"
  "$assets/etcd" --data-dir "$dir/etcd" --listen-client-urls "http://127.0.0.1:$client" \
    --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
    --quota-backend-bytes 8589934592 --unsafe-no-fsync >"$dir/etcd.log" 2>&1 & local e=$!
  "$assets/kube-apiserver" "--etcd-servers=http://127.0.0.1:$client" "--secure-port=$port" --bind-address=127.0.0.1 \
    --cert-dir="$dir/certs" --token-auth-file="$dir/tokens.csv" --authorization-mode=RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$dir/sa.key" \
    --service-account-signing-key-file="$dir/sa.key" --service-cluster-ip-range=10.0.0.0/16 \
    --disable-admission-plugins=ServiceAccount --max-requests-inflight=2000 --max-mutating-requests-inflight=1000 \
    >"$dir/apiserver.log" 2>&1 & local a=$!
  ready "https://127.0.0.1:$port/readyz" "the API server" "$dir/apiserver.log" $a $e
  "$@" >"$dir/$name.log" 2>&1 & local c=$!
  ready "$url" "$name" "$dir/$name.log" $c
  sleep 3 # idle memory is that of a process that has done its start
  "$BIN/examples/workloads" --kubeconfig "$dir/kubeconfig" --pid $c --deployments "$deployments" --replicas "$replicas" \
    >"$dir/$name" || { tail -5 "$dir/$name.log" >&2; exit 1; }
  kill $c; wait $c || true
  kill $a; wait $a || true
  kill $e; wait $e || true
}

if [ "${ONLY:-steersman}" = steersman ]; then
  measure steersman "http://127.0.0.1:$((port+2))/readyz" "$BIN/steersman" run --kubeconfig "$dir/kubeconfig" \
    --mode all=off --mode deployment=active --mode replicaset=active --no-leader-election --no-native-controller-manager \
    --admin-address "127.0.0.1:$((port+2))" ${STEERSMAN_ARGS:-}
fi
if [ "${ONLY:-kube-controller-manager}" = kube-controller-manager ]; then
  measure kube-controller-manager "https://127.0.0.1:$((port+3))/healthz" "$assets/kube-controller-manager" \
    --kubeconfig "$dir/kubeconfig" --authentication-kubeconfig "$dir/kubeconfig" \
    --authorization-kubeconfig "$dir/kubeconfig" --controllers=deployment-controller,replicaset-controller \
    --kube-api-qps=5000 --kube-api-burst=5000 --leader-elect=false --bind-address=127.0.0.1 \
    "--secure-port=$((port+3))" --cert-dir="$dir/certs"
fi
if [ -n "${ONLY:-}" ]; then
  sed "s/^/${ONLY}_/" "$dir/$ONLY"
  exit
fi
# A ratio below 1 is in favour of steersman: all of these are costs.
join -a 1 -a 2 -e 0 -o 0,1.2,2.2 <(sort "$dir/steersman") <(sort "$dir/kube-controller-manager") | awk '{
  ratio = $3 > 0 ? sprintf("%.2f", $2/$3) : "-"
  printf "%s steersman %s kube-controller-manager %s ratio %s\n", $1, $2, $3, ratio
}'
