"""From a checkpoint to answers without torch: ONNX export, the bundle, and the predictor."""
