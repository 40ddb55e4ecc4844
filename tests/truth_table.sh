#!/bin/sh
# The table of every model that runs offline on the real data with truth in a folder (davis2016, sintel_flow, ...):
#   tests/truth_table.sh TRUTH_FOLDER OUTPUT [more options of dpm evaluate]
set -eu
truth=$1
output=$2
shift 2
models=${MODELS:-"constant-depth dis-flow static:geometric geometric dpm-mini"}
# shellcheck disable=SC2086  # the models are words
exec dpm evaluate $models \
    --data sintel-clean="$truth/sintel_flow" \
    --data kitti-flow="$truth/kitti_flow_pair" \
    --data kitti-sceneflow="$truth/kitti_sceneflow" \
    --data flyingchairs="$truth/flyingchairs" \
    --data 7scenes="$truth/rgbd_7scenes" \
    --data redwood="$truth/rgbd_open3d" \
    --data slambook="$truth/rgbd_slambook" \
    --data davis="$truth/davis2016" \
    --format markdown -o "$output" "$@"
