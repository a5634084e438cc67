#!/usr/bin/env bash
# The GPU part of the published evidence, from a bare machine without a network.
#
#   scripts/gpu.sh [--from .gpu] [--minutes 9] [--out DIR] [--device cuda|cpu] [--small] [--only NAME,…] [--skip PHASE,…]
#
# --from DIR   what the machine lacks: wheels/*.whl, cifar10-*.npz (packed images; one training pack and the test pack at
#              least) and unpack_cifar10.py, which unpacks them. Of fewer than four training packs the studies say so.
# --minutes N  stop in time: the study at work is interrupted and keeps what is finished. Run again, it goes on.
# --out DIR    where the packed results go (default: $OUT, else none is packed): results.tar.gz.00, .01, … of 15 MiB, at
#              the end of each call, after each study, and on SIGTERM. `cat results.tar.gz.?? | tar xz` unpacks them; put
#              into DIR/back of --from, the next call on a fresh machine goes on from them.
# --small      everything at a scale that means nothing, to try the script; with --device cpu on any machine.
# --only, --skip   studies by name; phases: tests, estimate, benchmarks, studies.
#
# It installs the wheels, runs the tests that need a GPU, says how long each study will take, measures the speed
# benchmarks, and runs the studies in order of value for the minute. Everything is under results/gpu: a results tree,
# with the output of the other phases in results/gpu/gpu, that can be copied away at any moment.
#
# The machine must have Python 3.11 or newer with torch, torchvision, numpy, pandas, scipy, scikit-learn, statsmodels,
# seaborn, matplotlib, pyyaml, pillow, psutil, safetensors, rich and typer. wheels/ brings what it has not: fvcore,
# iopath, yacs, portalocker, tabulate, termcolor, optuna, alembic, sqlalchemy, mako, greenlet, colorlog, pydantic,
# pydantic-core, annotated-types and typing-inspection. Of the tests' own packages it needs pytest and hypothesis;
# pytest-timeout is used where it is. jsonschema and captum add no test that needs a GPU. Without lightning, hydra, joblib
# or ray the benchmarks leave the rival out.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" scripts/gpu/main.py "$@"
