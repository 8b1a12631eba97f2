"""What several kinds of tests share, by the name of the thing."""
