#!/bin/sh
# Models on rendered test clips, 7 each of dolly, orbit, hand-held and still cameras, pairs 2 and 8 frames apart:
#   tests/synth_table.sh OUTPUT HEIGHTxWIDTH "MODELS" [more options of dpm evaluate]
set -eu
output=$1
size=$2
models=$3
shift 3
first=0
for camera in moving/dolly moving/orbit moving/hand still/still; do
    dpm synth "$output/$camera" --split test --index $first --clips 7 --camera "${camera#*/}" --frames 9 --size "$size" \
        --format frames --quiet >/dev/null
    first=$((first + 7))
done
for motion in moving still; do
    # shellcheck disable=SC2086  # the models are words
    dpm evaluate $models --data synth="$output/$motion" --protocol pairs --max-pairs 1 --format markdown \
        -o "$output/scores_$motion" "$@" >"$output/$motion.md"
done
