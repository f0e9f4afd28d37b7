"""What can be planted, one file each; the folder is the registry. Each has a final class ``Plant``."""

from __future__ import annotations
