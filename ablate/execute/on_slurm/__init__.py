"""Items as jobs of a Slurm cluster: `executor` is the executor; the rest is what it is made of."""
