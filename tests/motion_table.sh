#!/bin/sh
# Masks, static depth and movers' scene flow of whole clips, for every model that runs offline: DAVIS clips, rendered test
# clips and the demo clip with exact truth, RGB-D clips where nothing moves:
#   tests/motion_table.sh TRUTH_FOLDER OUTPUT [more options of dpm evaluate, such as --max-frames 12]
set -eu
truth=$1
output=$2
shift 2
models=${MODELS:-"geometric dpm-mini"}
dpm synth "$output/clips/demo" --split val --index 1580 --camera dolly --frames 36 --size 288x432 --supersample 2 \
    --format frames --quiet >/dev/null
first=0
for camera in dolly orbit hand still; do
    dpm synth "$output/clips/test" --split test --index $first --camera "$camera" --frames 10 --size 216x384 --format frames \
        --quiet >/dev/null
    first=$((first + 7))
done
# shellcheck disable=SC2086  # the models are words
exec dpm evaluate $models --protocol video \
    --data davis="$truth/davis2016" \
    --data synth="$output/clips" \
    --data 7scenes="$truth/rgbd_7scenes" \
    --data redwood="$truth/rgbd_open3d" \
    --format markdown -o "$output/scores" "$@"
