// {{ model }} as an array{% if made_of %}, compiled of {{ made_of }}{% endif %}; made by edgeprune {{ edgeprune }}.
#ifndef {{ guard }}
#define {{ guard }}

extern const unsigned int {{ identifier }}_size;
extern const unsigned char {{ identifier }}[];
{% if arena %}

// What TensorFlow Lite Micro needs to run it; kernels such as CMSIS-NN's may need more arena.
#ifdef __cplusplus

// Bytes of arena, {{ arena.said }}.
constexpr unsigned int {{ prefix }}_arena_size = {{ arena.size }};
{% if variables %}

// Variables that it keeps from one inference to the next, for MicroResourceVariables::Create.
constexpr int {{ prefix }}_variables = {{ variables }};
{% endif %}

// How many operators the file has, each counted once.
constexpr unsigned int {{ prefix }}_operators = {{ operators }};

// Adds them, and no others, to a resolver; kTfLiteOk where all are added:
//   static tflite::MicroMutableOpResolver<{{ prefix }}_operators> resolver;
//   if ({{ prefix }}_add_operators(resolver) != kTfLiteOk) ...
{% if unpacks %}
// AddDecode unpacks weights into the arena: no alternate decompression memory is needed.
{% endif %}
template <typename Resolver>
auto {{ prefix }}_add_operators(Resolver& resolver) -> decltype(resolver.AddCustom(nullptr, nullptr)) {
{% for name in unknown %}
  static_assert(sizeof(Resolver) == 0, "TensorFlow Lite Micro has no operator {{ name }}: add yours here");
{% endfor %}
{% for method in methods %}
  if (const auto failed = resolver.{{ method }}()) return failed;
{% endfor %}
  return {};
}

#endif  // __cplusplus
{% endif %}

#endif  // {{ guard }}
