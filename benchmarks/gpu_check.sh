#!/usr/bin/env bash
# Everything that needs a real NVIDIA GPU, in one command and less than nine minutes, without a network:
#   build    the core, and the CUDA kernels for this machine's GPU alone
#   device   is it there, and does a kernel run on it?
#   suite    pytest --device cuda
#   memcheck, racecheck, initcheck: compute-sanitizer over the op tests, each op at least once if the time allows
#   bench    the kernels against PyTorch (bench_cuda.py --quick)
#   convs    every convolution of ResNet-20 and ResNet-50 against PyTorch (bench_conv.py)
#   train    whole training steps against PyTorch: eager, CUDA graphs, torch.compile (bench_train_cuda.py)
# Each stage has its time limit; a summary says PASS, FAIL or NOT RUN for each. Exit status 1 if one failed.
#
#   benchmarks/gpu_check.sh               output under $OUT, or ./gpu_check; the build stays in build/gpu_check
#   benchmarks/gpu_check.sh --dry-run     the same stages on the emulator, with the core that is built already
#
# Needs: nvcc 12.0 or newer and the driver, g++, cmake 3.20 (ninja or make), Python's headers, and for $PYTHON (python3)
# PyTorch's CUDA build, NumPy, pytest and ml_dtypes. pybind11's headers come from PyTorch where pybind11 is not installed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

dry_run=
case "${1:-}" in
  "") ;;
  --dry-run) dry_run=1 ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

export ROOT=$PWD BUILD=$PWD/build/gpu_check PYTHON=${PYTHON:-python3} DRY_RUN=$dry_run
OUT=${OUT:-$ROOT/gpu_check}
mkdir -p "$OUT" "$BUILD" || exit 1
OUT=$(cd "$OUT" && pwd)
export OUT
CORES=$(nproc)
export CORES PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
readonly TOTAL=520  # seconds

die() {
  printf 'gpu_check: %s\n' "$1" | tee "$OUT/summary.txt" >&2
  exit 1
}

# ---- what must be there ---------------------------------------------------------------------------------------------
command -v "$PYTHON" >/dev/null || die "there is no $PYTHON: set PYTHON to an interpreter that has PyTorch"
modules="numpy pytest ml_dtypes torch"
for module in $modules; do
  "$PYTHON" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$module') is None)" ||
    die "$PYTHON has no module $module: needed are $modules"
done
command -v g++ >/dev/null || die "there is no g++"

if [ -z "$DRY_RUN" ]; then
  NVCC=${CUDACXX:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)}
  [ -n "$NVCC" ] || die "there is no nvcc on the PATH or in /usr/local/cuda/bin: set CUDACXX to it"
  CMAKE=$(command -v cmake || ls "$(dirname "$("$PYTHON" -c 'import sys; print(sys.executable)')")/cmake" 2>/dev/null)
  [ -n "$CMAKE" ] || die "there is no cmake"
  "$PYTHON" - <<'PYTHON_END' || die "there is no Python.h for $PYTHON: install python3-dev"
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").exists())
PYTHON_END
  CAPABILITY=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. \r')
  [[ $CAPABILITY =~ ^[0-9]+$ ]] ||
    CAPABILITY=$("$PYTHON" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())' 2>/dev/null)
  [[ $CAPABILITY =~ ^[0-9]+$ ]] || die "neither nvidia-smi nor PyTorch finds a GPU"
  export NVCC CMAKE CAPABILITY
  unset SKIPWAY_CUDA_LIBRARY  # the tests must not fall back to the emulator
  export PACKAGE=$BUILD/package
else
  export PACKAGE=$ROOT/python
  export SKIPWAY_CUDA_LIBRARY=${SKIPWAY_EMULATOR_BUILD:-$ROOT/build/cuda_emulator}/checked/_cuda_emulated.so
fi
export PYTHONPATH=$PACKAGE:$ROOT/benchmarks

# ---- stages: shell functions, each run in a shell of its own under `timeout` --------------------------------------
# A CMake package around the pybind11 headers that come with PyTorch.
pybind11_of_torch() {
  local headers
  headers=$("$PYTHON" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')/include
  [ -e "$headers/pybind11/pybind11.h" ] || return 1
  mkdir -p "$BUILD/pybind11/include"
  ln -sfn "$headers/pybind11" "$BUILD/pybind11/include/pybind11"
  cat >"$BUILD/pybind11/pybind11Config.cmake" <<'CMAKE_END'
function(pybind11_add_module target type)
  Python_add_library(${target} ${type} WITH_SOABI ${ARGN})
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/include)
endfunction()
set(pybind11_FOUND TRUE)
CMAKE_END
  echo "$BUILD/pybind11"
}

build() {
  if [ -n "$DRY_RUN" ]; then
    "$PYTHON" tests/cuda_emulator/build.py
    echo "detail: the emulator; the core that is there"
    return
  fi
  mkdir -p "$PACKAGE/skipway"
  (cd python && tar cf - --exclude='*.so' --exclude=__pycache__ skipway) | tar xf - -C "$PACKAGE"
  local pybind11 generator=()
  pybind11=$("$PYTHON" -m pybind11 --cmakedir 2>/dev/null) || pybind11=$(pybind11_of_torch) ||
    { echo "detail: neither pybind11 nor PyTorch's copy of its headers was found"; return 1; }
  command -v ninja >/dev/null && generator=(-G Ninja)
  "$CMAKE" -S . -B "$BUILD/cmake" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PACKAGE/skipway" -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF \
    -DPython_EXECUTABLE="$("$PYTHON" -c 'import sys; print(sys.executable)')" -Dpybind11_DIR="$pybind11" \
    -DSKIPWAY_CUDA=ON -DSKIPWAY_CUDA_ARCHITECTURES="$CAPABILITY-real" -DSW_NVCC="$NVCC" -DCMAKE_CUDA_FLAGS=-lineinfo
  "$CMAKE" --build "$BUILD/cmake" --parallel "$CORES"
  echo "detail: for sm_$CAPABILITY, $CORES cores"
}

device() {
  "$PYTHON" - <<'PYTHON_END'
import os

import skipway as sw

if not sw.cuda.is_available():
    raise SystemExit(f"detail: {sw._core._cuda_reason()}")
emulated = sw._core._cuda_emulated()
if emulated != bool(os.environ["DRY_RUN"]):
    raise SystemExit("detail: the emulator stands in the GPU's place")
x = sw.arange(1000.0, device="cuda")
y = sw.nn.functional.residual_add(x, x, activation="relu").cpu()
if y.tolist() != [2.0 * i for i in range(1000)]:
    raise SystemExit("detail: residual_add gives wrong numbers")
name = "emulator" if emulated else sw.cuda.get_device_name(0)
print(f"detail: {name}; {sw._core._cuda_description()}")
PYTHON_END
}
PYTEST_FLAGS="-p pytest_time_limit -p no:cacheprovider -o addopts= -q --tb=short --device cuda --spread"
[ -n "$DRY_RUN" ] || PYTEST_FLAGS+=" --real-gpu"

# Adds up the tallies of the logs.
tally() {
  awk '/^tally: /{ for (i = 2; i < NF; i += 2) { word = $(i + 1) (i + 2 == NF && $(i + 1) == "not" ? " run" : ""); gsub(",", "", word); n[word] += $i } }
    END { printf "detail: %d passed, %d failed, %d skipped, %d not run for lack of time\n", n["passed"], n["failed"], n["skipped"], n["not run"] }' "$@"
}

suite() {
  local parts=$((CORES / 2 > 8 ? 8 : CORES / 2 > 1 ? CORES / 2 : 1)) words=() pids=() status=0 i
  [ -n "$DRY_RUN" ] && words=(-k "residual or relu or layer_norm or softmax or moving")
  rm -f "$BUILD"/suite.*.log
  for ((i = 1; i <= parts; ++i)); do
    SKIPWAY_NUM_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$PYTHON" -m pytest $PYTEST_FLAGS \
      --seconds $((LIMIT - 15)) --part "$i/$parts" "${words[@]}" >"$BUILD/suite.$i.log" 2>&1 &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i" || status=1; done
  cat "$BUILD"/suite.*.log
  tally "$BUILD"/suite.*.log
  return $status
}

# sanitize TOOL: blocks are not cached, and matrix products are our own, so that the tool sees what it checks.
sanitize() {
  local sanitizer status=0 counted
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
  SKIPWAY_CUDA_CACHE=0 SKIPWAY_CUBLAS=0 SKIPWAY_NUM_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    "$sanitizer" --tool "$1" --target-processes application-only --error-exitcode 86 --print-limit 20 \
    "$PYTHON" -m pytest $PYTEST_FLAGS --seconds $((LIMIT - 25)) \
    -k "not central and not layout" tests/test_ops.py >"$BUILD/$1.log" 2>&1 || status=$?
  cat "$BUILD/$1.log"
  if grep -q "Device not supported" "$BUILD/$1.log"; then
    echo "detail: compute-sanitizer does not support this device here"
    return 99
  fi
  counted=$(tally "$BUILD/$1.log")
  echo "$counted; $(grep -oE "(ERROR|RACECHECK) SUMMARY: .*" "$BUILD/$1.log" | tail -n 1)"
  grep -qE "ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards" "$BUILD/$1.log" || status=1
  return $status
}

bench() {
  local size=(--quick --seconds $((LIMIT - 20))) status=0
  [ -n "$DRY_RUN" ] && size=(--tiny --rounds 2 --dtypes float32 --only residual)
  "$PYTHON" benchmarks/bench_cuda.py "${size[@]}" --markdown "$OUT/bench.md" --json "$OUT/bench.json" || status=$?
  echo "detail: $(grep -h '^Goals met' "$OUT/bench.md" 2>/dev/null) see bench.md"
  return $status
}

train() {
  local size=(--seconds $((LIMIT - 30))) status=0
  [ -n "$DRY_RUN" ] && size=(--tiny)
  "$PYTHON" benchmarks/bench_train_cuda.py "${size[@]}" --markdown "$OUT/train.md" --json "$OUT/train.json" || status=$?
  echo "detail: see train.md"
  return $status
}

convs() {
  local size=(--seconds $((LIMIT - 15))) status=0
  [ -n "$DRY_RUN" ] && size=(--tiny --rounds 2 --only ResNet-20)
  "$PYTHON" benchmarks/bench_conv.py "${size[@]}" --markdown "$OUT/convs.md" --json "$OUT/convs.json" || status=$?
  echo "detail: $(grep -h '^ResNet' "$OUT/convs.md" 2>/dev/null | tr '\n' ';') see convs.md"
  return $status
}
export -f build pybind11_of_torch device suite tally sanitize bench convs train
export PYTEST_FLAGS

# ---- running them ---------------------------------------------------------------------------------------------------
names=() states=() details=()
blocked=

note() {  # name state detail
  names+=("$1") states+=("$2") details+=("$3")
  printf '%-8s %-10s %s\n' "$2" "$1" "$3"
}

# How long a stage may take: its limit, or what is left of the total less what later stages need.
allowed() {
  local left=$((TOTAL - SECONDS - $2))
  echo $(($1 < left ? $1 : left))
}

finish() {  # name exit-status seconds limit: notes the result of a stage whose output is in its log
  local detail
  detail=$(grep -h '^detail: ' "$OUT/$1.log" 2>/dev/null | tail -n 1)
  [ -n "$detail" ] || detail=$(tail -n 1 "$OUT/$1.log")
  detail="$3 s; ${detail#detail: }"
  case $2 in
    0) note "$1" PASS "$detail" ;;
    99) note "$1" "NOT RUN" "$detail" ;;
    124 | 137) note "$1" FAIL "stopped at its limit of $4 s" ;;
    *) note "$1" FAIL "$detail (see $1.log)" ;;
  esac
}

stage() {  # name limit reserve command...
  local name=$1 limit begin=$SECONDS status=0
  limit=$(allowed "$2" "$3")
  shift 3
  if [ -n "$blocked" ]; then note "$name" "NOT RUN" "$blocked failed"; return 1; fi
  if ((limit < 20)); then note "$name" "NOT RUN" "no time was left"; return 1; fi
  LIMIT=$limit timeout -k 5 "$limit" bash -euo pipefail -c "$*" >"$OUT/$name.log" 2>&1 || status=$?
  finish "$name" "$status" $((SECONDS - begin)) "$limit"
  return $status
}

stage build 260 220 build || blocked=build
stage device 40 180 device || blocked=${blocked:-device}
stage suite 130 150 suite

limit=$(allowed 90 110)
tools=(memcheck racecheck initcheck)
if [ -n "$blocked" ]; then
  for tool in "${tools[@]}"; do note "$tool" "NOT RUN" "$blocked failed"; done
elif [ -n "$DRY_RUN" ]; then
  for tool in "${tools[@]}"; do note "$tool" "NOT RUN" "needs a GPU; the emulator checks every access by itself"; done
elif ! command -v compute-sanitizer >/dev/null && ! [ -x /usr/local/cuda/bin/compute-sanitizer ]; then
  for tool in "${tools[@]}"; do note "$tool" "NOT RUN" "there is no compute-sanitizer"; done
elif ((limit < 45)); then
  for tool in "${tools[@]}"; do note "$tool" "NOT RUN" "no time was left"; done
else  # side by side: each is busy on the host most of the time
  begin=$SECONDS pids=()
  for tool in "${tools[@]}"; do
    LIMIT=$limit timeout -k 5 "$limit" bash -euo pipefail -c "sanitize $tool" >"$OUT/$tool.log" 2>&1 &
    pids+=($!)
  done
  for i in "${!tools[@]}"; do
    status=0
    wait "${pids[i]}" || status=$?
    finish "${tools[i]}" "$status" $((SECONDS - begin)) "$limit"
  done
fi

stage bench 100 120 bench
stage convs 50 70 convs
stage train 150 0 train

{
  printf 'gpu_check%s, %s, %d s\n' "${DRY_RUN:+ (dry run on the emulator)}" \
    "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true)" "$SECONDS"
  for i in "${!names[@]}"; do printf '%-8s %-10s %s\n' "${states[i]}" "${names[i]}" "${details[i]}"; done
} >"$OUT/summary.txt"
printf '\n'
cat "$OUT/summary.txt"
for state in "${states[@]}"; do [ "$state" != FAIL ] || exit 1; done
