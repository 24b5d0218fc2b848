"""How the vision tower computes: ``tower`` is the arithmetic, ``engine`` runs it in batches.

``cuda`` runs it on a GPU, ``int8`` by OpenVINO as ``calibration`` has quantized it, and
``cpu_precision`` chooses between fp32 and bf16 on a CPU.
"""
