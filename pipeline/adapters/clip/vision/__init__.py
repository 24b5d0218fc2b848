"""Runs the vision tower: ``tower`` has the arithmetic, and ``engine`` runs it in batches.

``cuda`` runs the tower on a GPU. ``int8`` runs it with OpenVINO, as quantized by ``calibration``.
``cpu_precision`` chooses between fp32 and bf16 on a CPU.
"""
