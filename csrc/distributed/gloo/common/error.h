// Declarations only: libtorch has Gloo inside and ships its own headers without those of Gloo,
// which they include. The classes have the size that the headers need to know of: none.
#ifndef EWE_GLOO_ERROR_H
#define EWE_GLOO_ERROR_H
#endif
