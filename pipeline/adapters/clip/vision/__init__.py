"""Runs the vision tower.

Read ``tower`` first: the arithmetic. ``engine`` runs the tower in batches, and ``cuda`` on a GPU.
``int8`` runs it with OpenVINO, as quantized by ``calibration``. ``cpu_precision`` chooses between
fp32 and bf16 on a CPU.
"""
