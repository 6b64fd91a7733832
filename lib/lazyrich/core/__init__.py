"""What every other layer rests on: argument checks and named random generators."""
