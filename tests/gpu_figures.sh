#!/bin/sh
# Every figure that needs a GPU, into one folder (about ten minutes; a machine without ffmpeg and Open3D will do):
#   tests/gpu_figures.sh OUTPUT [DEVICE]
# Nothing stops at a failure: what ran is in OUTPUT, and the last line of each file says how it ended.
set -u
output=$1
device=${2:-cuda}
dpm="python -m dpm_cli"
mkdir -p "$output"
note() {
    name=$1
    shift
    "$@" >"$output/$name.txt" 2>&1
    echo "exit code $?" >>"$output/$name.txt"
}
note doctor $dpm doctor
note tests python -m pytest -m gpu -p no:cacheprovider tests/test_network_gpu.py tests/test_train_gpu.py tests/test_synthetic_render.py
for dtype in float32 bfloat16; do
    note "networks_$dtype" $dpm benchmark --what networks --device "$device" --dtype $dtype --frames 24 --size 512x288 \
        --batch-size 16 --json -q
done
note clip $dpm benchmark --what clip --device "$device" --frames 24 --size 512x288 --json -q
note rendering $dpm benchmark --what synth --device "$device" --size 256x192 --json -q
for dtype in float32 bfloat16; do
    note "quick_$dtype" $dpm evaluate dpm-mini --suite quick --device "$device" --dtype $dtype --format json
done
tail -n 2 "$output"/*.txt
