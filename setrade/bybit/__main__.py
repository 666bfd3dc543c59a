"""``python -m setrade.bybit fetch --help``."""

from .fetch import main

if __name__ == "__main__":
    raise SystemExit(main())
