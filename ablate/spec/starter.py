"""A study to start from, and the schema that lets an editor complete and check it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ablate.errors import Problem, StudyError
from ablate.spec.names import RESERVED
from ablate.spec.schema import json_schema

SCHEMA_FILE = "ablate.schema.json"

_STARTER = """\
# yaml-language-server: $schema={schema}
name: {name}                             # the folder under results/
title: Which part of the attention earns its cost?
baseline: baseline                       # every other variant is compared with it
seeds: 5                                 # 0, 1, 2, 3, 4: a verdict needs five
defaults:
  data:
    source: fashion-mini                 # `ablate ls data`
    augment: {{crop: 2, flip: true}}
  model:
    backbone: cnn                        # `ablate ls backbones`
    args: {{width: 0.5}}
    attention:                           # `ablate ls attention`; null for none
      name: msa
      args: {{reduction: 16}}
      at: [block2, block3]               # module paths or globs
  train:
    epochs: 4
    batch_size: 128
    optimizer: {{name: adam, lr: 1.0e-3}}
    schedule: {{name: plateau, factor: 0.1, patience: 3}}
variants:                                # dotted settings on the defaults; `extends: NAME` starts elsewhere
  baseline: {{model.attention: null}}
  multi-scale: {{model.attention.args.channel: false, model.attention.args.spatial: false}}
  msa: {{}}
sweeps:                                  # one factor at a time
  - {{from: msa, set: model.attention.args.reduction, as: reduction, values: [4, 8, 32]}}
designs:                                 # all combinations of named switches
  - kind: factorial
    from: msa
    switches: {{channel: model.attention.args.channel, spatial: model.attention.args.spatial}}
analysis: {{test: welch, correction: holm, margin: 0.5, level: 0.05}}
# tune:                                  # `ablate tune` chooses settings, on seeds of its own
#   from: msa
#   space: {{model.attention.args.reduction: [4, 8, 16, 32]}}
#   also: [baseline]                     # the same budget, over what exists for it
#   seeds: 2
"""


def write_starter(path: Path) -> tuple[Path, Path]:
    """Writes a starting study to `path` and the schema beside it; gives both paths.

    A study that exists is never overwritten (StudyError); the schema is brought up to date.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "study"
    name = f"{stem}-study" if stem in RESERVED else stem
    schema = path.parent / SCHEMA_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_STARTER.format(name=name, schema=SCHEMA_FILE))
        schema.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except FileExistsError:
        hint = "give another name: ablate init OTHER.yaml"
        raise StudyError([Problem("exists already; it was left as it is", str(path), hint=hint)]) from None
    except OSError as error:
        raise StudyError([Problem(f"cannot be written: {error.strerror or error}", str(path))]) from None
    return path, schema
