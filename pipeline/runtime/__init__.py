"""Seeds, devices, threads, workers, checkpoints, incremental rows, provenance."""
