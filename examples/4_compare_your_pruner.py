"""A pruner from outside the package, by name, against random tokens: examples/my_module.py is all of it.

The same in the shell, from this folder:
wordsight compare --task scenes --pruner my_module:MyPruner --pruner random --keep 0.1 --limit 24
"""

from dataclasses import replace

from wordsight import VLM, compare, pruners
from wordsight.tasks.scenes import Scenes

specs = ("random", "my_module:MyPruner", "my_module:MyPruner:common=true")
methods = [replace(pruners.make(spec), keep=0.1) for spec in specs]
for row in compare(VLM.from_pretrained(), [Scenes()], methods, limit=24).rows:
    print(f"{row['pruner']:32s} {row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]")
