"""Weights in ONNX files."""
