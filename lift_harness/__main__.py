"""`python -m lift_harness` is the `lift-harness` command."""

from lift_harness.cli import main

if __name__ == "__main__":
    main()
