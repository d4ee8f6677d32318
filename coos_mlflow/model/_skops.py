"""Import skops.io without torch.

On import, skops imports all modules of scikit-learn, and one of these imports torch if it is
installed. That takes seconds and hundreds of megabytes, which a scorer without networks can save.
"""

from __future__ import annotations

import sys

_known = sys.modules.get("torch")
if _known is None:
    # None makes `import torch` raise an ImportError, which skops skips.
    sys.modules["torch"] = None  # type: ignore[assignment]
try:
    from skops.io import dump, get_untrusted_types, load
    from skops.io.exceptions import UntrustedTypesFoundException
finally:
    if _known is None:
        del sys.modules["torch"]

__all__ = ["UntrustedTypesFoundException", "dump", "get_untrusted_types", "load"]
