"""Several processes of one machine that share a job."""
