#!/bin/sh
# Prometheus for the mesh that `skein up` runs here, until Ctrl-C: http://127.0.0.1:9090, with the mesh's rules. What it stored goes with it.
# WEB, DOOR: other addresses; INTERVAL: how often it scrapes; SKEIN: another skein; SKEIN_STATE: another mesh.
set -eu
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
root=$(cd "$here/../.." && pwd)
skein=${SKEIN:-$root/bin/skein}
door=${DOOR:-127.0.0.1:9464}
web=${WEB:-127.0.0.1:9090}
command -v prometheus >/dev/null || {
  echo 'prometheus is not on the PATH (Debian: apt-get install --no-install-recommends prometheus)' >&2
  exit 1
}
data=$(mktemp -d)
pids=
finish() {
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill $pids 2>/dev/null || :
  wait
  rm -rf "$data"
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

"$skein" prometheus config --listen "$door" --interval "${INTERVAL:-5s}" --rules "$root/dashboards/prometheus/rules.yaml" >"$data/prometheus.yaml"
"$skein" prometheus serve --listen "$door" >"$data/door" &
pids=$!
# A Prometheus that does not find it waits for a while before it looks again.
until grep -q serving "$data/door"; do
  kill -0 "$pids" 2>/dev/null || exit 1
  sleep 0.1
done
prometheus --config.file "$data/prometheus.yaml" --storage.tsdb.path "$data/tsdb" --web.listen-address "$web" --log.level warn &
pids="$pids $!"
echo "Prometheus: http://$web"
# Whichever ends first ends the other.
# shellcheck disable=SC2086
while kill -0 $pids 2>/dev/null; do
  sleep 1 &
  wait $!
done
echo 'one of the two has ended' >&2
exit 1
