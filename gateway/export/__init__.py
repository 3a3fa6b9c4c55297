"""Training sets of what people have decided."""
