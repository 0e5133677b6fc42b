// Declarations only: libtorch has Gloo inside and ships its own headers without those of Gloo,
// which they include. The classes have the size that the headers need to know of: none.
#ifndef EWE_GLOO_CONTEXT_H
#define EWE_GLOO_CONTEXT_H

#include <chrono>

namespace gloo {
class Context {
  public:
    void setTimeout(std::chrono::milliseconds timeout);
};
}  // namespace gloo

#endif
