# What the type checker knows of the C part: nothing; `_kvm_build.py` declares it.

from typing import Any

ffi: Any
lib: Any
