"""Training: from a layout to seconds, bytes and USD of a step and of a run."""

from costsim.predict.training.step import TrainingStep, training_step

__all__ = ["TrainingStep", "training_step"]
