"""Workers under a real Slurm."""
