"""The entry point of the command line: it answers Ctrl-C while modules are still imported."""

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    try:
        from pipeline import cli  # here, because it takes long enough to be interrupted

        return cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped before the command began\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
