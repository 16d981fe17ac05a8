"""What a loop holds for what waits, and what it costs to have one at all."""
