"""Models as files for small devices: GGUF for llama.cpp, and int8 or int4 weights for transformers.

`gguf_export` writes the file; `architecture`, `vocabulary` and `tensors` say what goes into it; `llama_cpp` calls that
library's own quantiser, `importance` measures what it may weigh by; `compressed` writes safetensors.
"""
