#!/usr/bin/env bash
# Prints figures, one per line: start-up time of the sandbox, its memory with 1,000 nodes and 10,000 pods, and the
# memory of an idle `steersman run`. Loopback only; takes a few minutes; nothing stays behind.
# usage: bench/figures.sh [nodes] [pods]
set -euo pipefail
cd "$(dirname "$0")/.."
nodes=${1:-1000} pods=${2:-10000}
cargo build --release --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release/steersman
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
rss() { awk '/^VmRSS/ {printf "%.1f MiB", $2/1024}' "/proc/$1/status"; }
cpu() { awk '{printf "%.1f s", ($14+$15)/100}' "/proc/$1/stat"; }
now() { date +%s.%N; }
since() { echo "$1 $(now)" | awk '{printf "%.3f s", $2-$1}'; }

for i in 1 2 3; do
  rm -f "$dir/kc"; t=$(now)
  "$bin" sandbox --nodes 5 --kubeconfig-out "$dir/kc" >"$dir/out" 2>&1 & p=$!
  until [ -s "$dir/kc" ] && kubectl --kubeconfig "$dir/kc" get --raw /readyz >/dev/null 2>&1; do sleep 0.01; done
  echo "sandbox_ready_with_kubectl_call_$i $(since "$t")"
  kill $p; wait $p || true
done

"$bin" sandbox --nodes 5 --no-controllers --kubeconfig-out "$dir/kc1" >"$dir/out" 2>&1 & s=$!
until [ -s "$dir/kc1" ] && kubectl --kubeconfig "$dir/kc1" get --raw /readyz >/dev/null 2>&1; do sleep 0.05; done
"$bin" run --kubeconfig "$dir/kc1" --mode all=active --no-native-controller-manager --admin-address off >"$dir/run.out" 2>&1 & r=$!
sleep 10; echo "run_idle_memory $(rss $r)"; echo "run_idle_cpu_in_10_s $(cpu $r)"
kill $r $s; wait $r $s || true

"$bin" sandbox --nodes "$nodes" --kubeconfig-out "$dir/kc2" >"$dir/out" 2>&1 & s=$!
export KUBECONFIG=$dir/kc2
until [ -s "$dir/kc2" ] && kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.05; done
until [ "$(kubectl get nodes -o name | wc -l)" -ge "$nodes" ]; do sleep 0.2; done
echo "memory_with_${nodes}_nodes $(rss $s)"
t=$(now)
for i in 1 2 3 4 5 6 7 8 9 10; do kubectl create deployment "d$i" --image=example.com/d:1 --replicas=$((pods/10)) --dry-run=client -o json | kubectl apply -f - >/dev/null; done
until [ "$(kubectl get deployments -o jsonpath='{range .items[*]}{.status.availableReplicas}{"\n"}{end}' | awk '{s+=$1} END {print s+0}')" -ge "$pods" ]; do sleep 0.5; done
echo "time_to_${pods}_available_pods $(since "$t")"
echo "memory_with_${nodes}_nodes_${pods}_pods $(rss $s)"
echo "cpu_of_the_process $(cpu $s)"
