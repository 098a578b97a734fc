// What {{ model }} needs of TensorFlow Lite Micro; made by edgeprune {{ edgeprune }}.
#ifndef {{ resolver_guard }}
#define {{ resolver_guard }}

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

{% if arena %}
// Bytes of arena, measured by {{ arena.runtime }} on a computer with 64-bit pointers.
// A 32-bit microcontroller needs a little less, and scratch buffers of its kernels may need more.
constexpr unsigned int {{ prefix }}_arena_size = {{ arena.size }};
{% else %}
// The arena was not measured: install TFLite Micro with `edgeprune targets install tflm`.
{% endif %}
{% if unpacks %}
// Weights are unpacked into the arena before each use: no alternate decompression memory is needed.
{% endif %}

constexpr unsigned int {{ prefix }}_operators = {{ methods | length }};

inline TfLiteStatus {{ prefix }}_add_operators(
    tflite::MicroMutableOpResolver<{{ prefix }}_operators>& resolver) {
{% for method in methods %}
  if (resolver.{{ method }}() != kTfLiteOk) return kTfLiteError;
{% endfor %}
{% for name in unknown %}
#error "add the custom operator {{ name }} here"
{% endfor %}
  return kTfLiteOk;
}

#endif  // {{ resolver_guard }}
