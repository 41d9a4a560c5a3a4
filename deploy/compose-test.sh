#!/usr/bin/env bash
# Brings docker-compose.yaml up with images made FROM scratch of local binaries, so that it works where no registry of
# images can be reached; checks every published port and one kill; takes it down. Needs a Docker Engine that runs, and
# busybox (a static one, which stands in for the wget of the real images' health checks).
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
  echo "compose-test: no Docker Engine answers. Install one from the distribution, start its daemon, and try again." >&2
  exit 1
fi
busybox=$(command -v busybox || true)
if [ -z "$busybox" ] || ldd "$busybox" >/dev/null 2>&1; then
  echo "compose-test: needs a static busybox (Debian: busybox-static)." >&2
  exit 1
fi

pin() { (cd test && GOWORK=off go run ./cmd/pins "$1"); }
nats=$(pin nats-server) prometheus=$(pin prometheus) compose=$(pin docker-compose) kubectl=$(pin kubectl)

context=$(mktemp -d)
project=headwater-test
# The test has its own names and volumes and never touches those of a `docker compose up` beside it.
compose() { "$compose" --project-name "$project" -f docker-compose.yaml -f deploy/compose-test.yaml "$@"; }
finish() {
  code=$?
  [ "$code" = 0 ] || compose logs --tail 30 || true
  compose down --volumes --timeout 3 >/dev/null 2>&1 || true
  rm -rf "$context"
  exit "$code"
}
trap finish EXIT

# One image a binary. What docker-compose.yaml expects of an image is where its binary is, and its user.
image() { # name, binary, directory in the image, user, directory of data
  local dir="$context/$1"
  mkdir -p "$dir/bin" "$dir/data"
  cp "$2" "$dir/bin/"
  cp "$busybox" "$dir/wget"
  printf 'FROM scratch\nCOPY wget /bin/wget\nCOPY bin/ %s/\nCOPY --chown=%s data %s\nENV PATH=/bin:%s\nUSER %s\nENTRYPOINT ["%s/%s"]\n' \
    "$3" "$4" "$5" "$3" "$4" "$3" "$(basename "$2")" >"$dir/Dockerfile"
  docker build --quiet --tag "headwater-test/$1" "$dir" >/dev/null
}
for service in ingest state metricsapi exporter allinone; do
  image "$service" "bin/$service" /usr/local/bin 65532:65532 /data
done
image nats "$nats" /usr/local/bin 65532:65532 /data
image prometheus "$prometheus" /bin 65534:65534 /prometheus

echo "compose-test: docker compose up"
compose up --detach --wait --wait-timeout 180
compose ps --format 'table {{.Service}}\t{{.Status}}'

check() { # what, url, text that has to be in the answer
  for _ in $(seq 60); do
    # curl may end with an error although it got what was asked for: telnet:// never ends by itself.
    if grep -q -- "$3" <<<"$(curl --silent --insecure --max-time 3 "$2" </dev/null || true)"; then
      echo "compose-test: ok: $1"
      return
    fi
    sleep 1
  done
  echo "compose-test: $1: $2 never answered with '$3'" >&2
  return 1
}
ports() {
  check "nats monitoring (8222)" http://127.0.0.1:8222/jsz '"streams": 3'
  check "sim API server (6443)" https://127.0.0.1:6443/readyz ok
  check "ingest telemetry (8082)" http://127.0.0.1:8082/metrics 'headwater_build_info{service="ingest"'
  check "state telemetry (8083)" http://127.0.0.1:8083/metrics 'headwater_build_info{service="state"'
  check "metricsapi (10250)" https://127.0.0.1:10250/readyz ok
  check "metricsapi telemetry (8084)" http://127.0.0.1:8084/metrics 'headwater_build_info{service="metricsapi"'
  check "exporter (8080), objects" http://127.0.0.1:8080/metrics '^kube_pod_info{'
  check "exporter (8080), usage" http://127.0.0.1:8080/metrics '^container_cpu_usage_seconds_total{'
  check "exporter telemetry (8081)" http://127.0.0.1:8081/metrics 'headwater_build_info{service="exporter"'
  check "Prometheus (9090) has usage and objects" 'http://127.0.0.1:9090/api/v1/query?query=count(container_cpu_usage_seconds_total*on(namespace,pod)group_left()kube_pod_info)' '"value":\['
  check "NATS (4222)" telnet://127.0.0.1:4222 '^INFO'
}
ports
docker cp "$(compose ps --quiet sim)":/data/config "$context/kubeconfig"
top() { "$kubectl" --kubeconfig "$context/kubeconfig" --server https://127.0.0.1:6443 --insecure-skip-tls-verify top "$@"; }
for _ in $(seq 60); do # each node needs two samples first
  top node >"$context/top" 2>/dev/null && ! grep -q unknown "$context/top" && break
  sleep 1
done
cat "$context/top"
if grep -q unknown "$context/top"; then
  echo "compose-test: kubectl top node doesn't know every node" >&2
  exit 1
fi

echo "compose-test: kill -9 of exporter, state and NATS"
before=$(curl -s http://127.0.0.1:8080/metrics | grep -c '^kube_pod_info{')
for service in exporter state nats; do
  docker kill --signal KILL "$(compose ps --quiet "$service")" >/dev/null
done
compose up --detach --wait --wait-timeout 120
ports
after=$(curl -s http://127.0.0.1:8080/metrics | grep -c '^kube_pod_info{')
if [ "$before" != "$after" ]; then
  echo "compose-test: $before pods before the kill, $after after it" >&2
  exit 1
fi
echo "compose-test: passed; $after pods before and after"
