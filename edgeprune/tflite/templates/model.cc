// {{ model }} as an array{% if made_of %}, compiled of {{ made_of }}{% endif %}; made by edgeprune {{ edgeprune }}.
// sha256 of the file: {{ sha256 }}
// Its manifest:
{% for line in manifest %}
// {{ line }}
{% endfor %}
#include "{{ header }}"

const unsigned int {{ identifier }}_size = {{ size }};
alignas({{ alignment }}) const unsigned char {{ identifier }}[] = {
{% for line in lines %}
    {{ line }}
{% endfor %}
};
