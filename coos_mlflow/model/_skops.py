"""skops.io, imported without torch.

While it is imported skops walks through all modules of scikit-learn, one of which imports torch
where torch is installed: seconds, and hundreds of megabytes, for a scorer that needs none of it.
"""

from __future__ import annotations

import sys

_known = sys.modules.get("torch")
if _known is None:
    # None makes `import torch` an ImportError, which the walk passes over.
    sys.modules["torch"] = None  # type: ignore[assignment]
try:
    from skops.io import dump, get_untrusted_types, load
finally:
    if _known is None:
        del sys.modules["torch"]

__all__ = ["dump", "get_untrusted_types", "load"]
