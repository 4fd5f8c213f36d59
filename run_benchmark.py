#!/usr/bin/env python3
"""Terra-bench: run a benchmark suite, and draw its tables and pictures. `run_benchmark.py --help` tells more."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
