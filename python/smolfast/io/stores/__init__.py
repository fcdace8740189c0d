"""Object stores behind fsspec: reads that survive faults and run ahead, outputs that appear whole or not at all."""
