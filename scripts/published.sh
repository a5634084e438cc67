#!/usr/bin/env bash
# The published evidence of results/published, once more from nothing, on two cores without a GPU: hours.
#
#   scripts/published.sh [PACKS]
#
# PACKS: a folder with the packed CIFAR-10 images, cifar10-{test,train-0,…,train-3}.npz, and unpack_cifar10.py; needed
# once, while data/cifar10/{train,test}/CLASS/IMAGE is not there. Stopped anywhere, the same command goes on. Costs are
# timed last: leave the machine alone then. The tree with logs and curves stays in results/cpu.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}

if ! [ -d data/cifar10/test ] || ! [ -d data/cifar10/train ]; then
  packs=${1:?"data/cifar10 is not there: name the folder of the packed images"}
  rm -rf data/cifar10.part
  "$python" "$packs/unpack_cifar10.py" data/cifar10.part "$packs"/cifar10-*.npz
  mv data/cifar10.part data/cifar10
fi

for study in cnn-se-cpu msa-cpu few-images-cpu dynamic-or-static-cpu fine-tuning-cpu cnn-se-costs vgg16-costs; do
  "$python" -m ablate run "studies/cpu/$study.yaml" -o results/cpu -j "${JOBS:-2}"
done
modules=results/cpu/vgg16-costs/modules.json
"$python" -m ablate bench studies/cpu/vgg16-costs.yaml -o results/cpu --only baseline --depth 2 --format json >$modules.part
mv $modules.part $modules

"$python" scripts/publish.py results/cpu
"$python" scripts/front_page.py --write results/README.md
