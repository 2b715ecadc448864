"""Training: from a layout to seconds, bytes and USD of a step and of a run."""

from costsim.predict.training.answer import predict_chunk, predict_training, timeline_of
from costsim.predict.training.setting import cut_layers
from costsim.predict.training.step import TrainingStep, training_step

__all__ = ["TrainingStep", "cut_layers", "predict_chunk", "predict_training", "timeline_of", "training_step"]
