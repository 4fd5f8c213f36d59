"""Build the package; everything else about it is stated in setup.cfg.

The suites, the dataset cards and the published figures stand at the top of the repository, where they are
easy to find. `datasets` and `benchmarks` must not become packages of those names, so the wheel carries all
three inside `pipeline/_bundled`, where pipeline/core/paths.py finds them.
"""

from setuptools import find_packages, setup

BUNDLED = {
    "pipeline._bundled.benchmarks": "benchmarks",
    "pipeline._bundled.datasets": "datasets",
    "pipeline._bundled.published": "results/published",
}

setup(packages=[*find_packages(include=["pipeline*"]), *BUNDLED], package_dir=BUNDLED)
