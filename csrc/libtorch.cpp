// Everything that includes libtorch's headers, as one unit. Reading the headers takes twenty
// seconds of processor time, what is ours two, so eight units took five times as long.

#include "attention.cpp"
#include "context.cpp"
#include "distributed.cpp"
#include "fused.cpp"
#include "keyed.cpp"
#include "linear.cpp"
#include "memory.cpp"
#include "nf4.cpp"
#include "paged.cpp"
#include "trace.cpp"
#include "transfer.cpp"
