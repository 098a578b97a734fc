"""`python -m edgeprune` is the program `edgeprune`."""

from edgeprune.cli import main

if __name__ == "__main__":
    main()
