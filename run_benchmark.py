#!/usr/bin/env python3
"""Run a benchmark suite, and write its tables and figures. `run_benchmark.py --help` lists the commands."""

import sys

from pipeline.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
