"""How the vision tower computes.

Read ``tower`` first: the arithmetic. ``engine`` runs it in batches, ``cuda`` on a GPU, ``int8`` by
OpenVINO as ``calibration`` has quantized it. ``cpu_precision`` chooses between fp32 and bf16 on a
CPU.
"""
