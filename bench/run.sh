#!/bin/sh
# The full table on a quiet machine. Takes ready-built binaries from $PEER_BIN (a
# folder) or from $PEER_<NAME> each, and skips the systems whose binaries are missing.
# lrok itself is taken from ../bin (make build) unless $PEER_LROK names another one.
#   PEER_BIN=<folder> ./run.sh            all of it, about two hours
#   PEER_BIN=<folder> ./run.sh -rounds 1  any flag of the harness may follow
# The table goes to stdout, the raw results to results.json beside this script.
set -e
cd "$(dirname "$0")"
if [ -z "$PEER_LROK" ] && [ -x ../bin/lrok ]; then PEER_LROK=$PWD/../bin/lrok; export PEER_LROK; fi
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
go build -o "$t/bench" .
if [ -z "$PEER_LROK_TIMING" ]; then
  (cd .. && CGO_ENABLED=0 go build -tags timing -trimpath -o "$t/lrok-timing" ./cmd/lrok)
  PEER_LROK_TIMING=$t/lrok-timing; export PEER_LROK_TIMING
fi
ulimit -n "$(ulimit -Hn)"
"$t/bench" -systems direct,nginx,caddy,gorp,lrok,lrok-screen,lrok-timing,lrok-relayed,lrok-onelink,frp,frp-pool,frp-nomux,frp-plain,chisel,sish,portr,localtunnel \
  -rounds 3 -dur 2s -bulk 1024 -rttbulk 64 -agents 200 -phases steady,connect,syscalls,rtt,narrow,memory,stalled,screen -out results.json "$@"
# What asks more of the machine than of a system: of lrok alone.
"$t/bench" -systems lrok -agents 100,200,500,1000 -phases memory,held -only "idle agents,held" -out scale.json "$@"
"$t/bench" goals results.json scale.json || true
