"""`lift-harness doctor`: of a checkpoint (`checkpoint`), or of the installation (`installation`)."""
