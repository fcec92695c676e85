"""What was ordered: circuit and scenario files, read into types that cannot hold nonsense."""
