// {{ model }} as an array; made by edgeprune {{ edgeprune }}.
#ifndef {{ guard }}
#define {{ guard }}

extern const unsigned int {{ identifier }}_size;
extern const unsigned char {{ identifier }}[];

#endif  // {{ guard }}
