"""Hard problems made at random, and a judge of fits that shares no code with the package."""
