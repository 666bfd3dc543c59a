"""Helper package of the book *Squeeze, Excite, Measure*.

One module an idea. Importing ``setrade`` imports nothing heavy: torch, timm
and TA-Lib are loaded by the modules that use them.
"""

__version__ = "0.1.0"
