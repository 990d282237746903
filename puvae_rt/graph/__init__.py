"""The model as an ONNX graph: the straightforward deployment, the passes over it, and its files."""
