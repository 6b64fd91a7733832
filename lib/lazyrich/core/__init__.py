"""What every other layer rests on: argument checks, random generators, threads, files."""
