"""torchvision's builds import beside a torch for CPUs only if the two operators below are there; nothing here
calls them. Python runs this file in every process that has its folder on PYTHONPATH.
"""

import sys
from importlib.abc import MetaPathFinder


class Operators(MetaPathFinder):
    """Finds nothing, but knows when torchvision is about to be imported."""

    def find_spec(self, name, path, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                self.library = torch.library.Library("torchvision", "FRAGMENT")
                for operator in ("nms", "qnms"):
                    self.library.define(
                        f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    )
                torch.library.KEPT = self.library  # it goes with the last reference to it


sys.meta_path.insert(0, Operators())
