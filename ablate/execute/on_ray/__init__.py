"""Items on a Ray cluster: `executor` is the executor; the rest is what it is made of."""
